"""Every error that a step may end with, by what to do about it.

An activity's error reaches the workflow as an `ApplicationError` with a type. The types are the names of the classes here, and of
the clients' errors (`clients.errors`). Temporal compares names and knows no subclass, so `published` names the documented class.

StepError
 ├── Retried                 another attempt may succeed; Temporal makes it
 │    ├── NotYet                what the step waits for isn't there yet; Temporal makes the next attempt when it is due
 │    ├── NotProven             who holds the copies, or the controllers, don't say yet that a disk may go
 │    ├── TemporalUnreachable   Temporal doesn't answer an activity's question
 │    └── WorkerShutdown        this worker ends; the next one continues
 └── Final                   another attempt would end the same way
      ├── TopicsRefused         Kafka refuses to make, grow or configure topics
      ├── ConfigRefused         Kafka refuses a configuration's value
      ├── FeaturesRefused       Kafka refuses to finalise a feature's level, or it is no longer what was approved
      ├── ThrottleRefused       Kafka refuses to change a topic's throttled replica list
      ├── PlanDrift             the cluster no longer fits the plan: plan the rest again
      ├── PlanGone              the plan is not in the store, or is not the one that was approved
      ├── PlannerDefect         a plan, or a decision of the window, breaks a rule; it is not carried out
      ├── PermitLost            the run no longer holds the cluster
      ├── RotationRefused       a rotation of certificates can't go on with what it was given
      ├── RemovalRefused        pods to remove are no longer the highest ordinals
      ├── NoReplica             the brokers to follow hold no replica
      └── InvalidOverride       a throttle override has ended already or has no timezone
"""

from datetime import timedelta
from typing import ClassVar

from temporalio.exceptions import ActivityError, ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError

from kafka_runbooks.clients.errors import ClientError, Refused, UnknownCluster


class StepError(ApplicationError):
    """An error of a step; its type is the class's name."""

    is_final: ClassVar[bool]

    def __init__(self, message: str) -> None:
        super().__init__(message, type=type(self).__name__, non_retryable=self.is_final)


class Retried(StepError):
    """Another attempt may succeed."""

    is_final = False


class NotYet(Retried):
    """The step waits. No failure: it ends its attempt so that its slot is free until the next look."""

    def __init__(self, message: str, next_look_seconds: float = 15.0) -> None:
        ApplicationError.__init__(
            self,
            message,
            type=NotYet.__name__,
            next_retry_delay=timedelta(seconds=next_look_seconds),
            category=ApplicationErrorCategory.BENIGN,
        )


class NotProven(Retried):
    """Nothing proves yet that a disk may be let go."""


class TemporalUnreachable(Retried):
    """Temporal doesn't answer an activity's question."""


class WorkerShutdown(Retried):
    """The worker shuts down."""


class Final(StepError):
    """Another attempt would end the same way."""

    is_final = True


class PlanDrift(Final):
    """The cluster no longer fits the plan; none of the run's reassignments is in flight."""


class PlanGone(Final):
    """The plan is not in the store, or is not the one that was approved."""


class PlannerDefect(Final):
    """An independent check found a broken rule in a plan or a decision, and it was not carried out."""


class PermitLost(Final):
    """The permit is held by another run, or by none."""


class TopicsRefused(Final):
    """Kafka refuses to make, grow or configure some topics; the others are as planned."""


class ConfigRefused(Final):
    """Kafka refuses a configuration's value."""


class FeaturesRefused(Final):
    """Features can't be finalised as approved; none was."""


class ThrottleRefused(Final):
    """A topic's throttled replica list can't be changed, and its data must not flow unthrottled."""


class RotationRefused(Final):
    """A rotation of certificates can't go on: a Secret or an issuer is gone, or what it issues would end too soon."""


class RemovalRefused(Final):
    """A StatefulSet can't lose these pods."""


class NoReplica(Final):
    """Brokers that hold no replica can't be followed."""


class InvalidOverride(Final):
    """A throttle override that can't take effect."""


FINAL_CLIENT_ERRORS = (Refused, UnknownCluster)
"""`Unreachable` and `Conflict` are missing, since they are temporary: the next attempt observes again."""

NON_RETRYABLE = [
    *(error.__name__ for error in (*Final.__subclasses__(), *FINAL_CLIENT_ERRORS)),
    "ValidationError",  # pydantic: the input doesn't change
    "PayloadsTooLarge",  # the server: the same answer would be as large again
]
"""For every activity's retry policy."""


def is_final(error: BaseException) -> bool:
    """Whether Temporal makes no other attempt after this error."""
    return isinstance(error, (Final, *FINAL_CLIENT_ERRORS)) or type(error).__name__ in NON_RETRYABLE


def is_temporary(error: BaseException) -> bool:
    """Whether a look that ended so is only a look that failed: the next one may succeed."""
    if isinstance(error, ClientError):
        return not isinstance(error, FINAL_CLIENT_ERRORS)
    return isinstance(error, (TimeoutError, RPCError)) or (
        isinstance(error, Retried) and not isinstance(error, (NotYet, WorkerShutdown))
    )


def published(error: ClientError) -> ApplicationError:
    """A client's error as a step ends with it: under the name of the documented class, whichever subclass it is of."""
    kind = next(kind for kind in type(error).__mro__ if ClientError in kind.__bases__ or kind is ClientError)
    return ApplicationError(str(error), type=kind.__name__, non_retryable=issubclass(kind, FINAL_CLIENT_ERRORS))


def is_type(error: BaseException, kind: type[Exception]) -> bool:
    """Whether an activity failed with this error of `StepError` or of the clients."""
    cause = error.cause if isinstance(error, ActivityError) else error
    return isinstance(cause, ApplicationError) and cause.type == kind.__name__


def is_unknown_cluster(error: BaseException) -> bool:
    """Whether an activity failed because no cluster of that name is configured."""
    return is_type(error, UnknownCluster)


def describe(error: BaseException) -> str:
    """The message of the innermost cause: `Activity task failed` alone is no help."""
    while isinstance(error, ActivityError) and error.cause is not None:
        error = error.cause
    return (error.message if isinstance(error, ApplicationError) else str(error))[:2000]
