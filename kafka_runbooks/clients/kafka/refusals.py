"""Which errors of Kafka are refusals: another attempt would be answered the same way.

Both libraries are judged alike. kafka-python says of each error whether it is `retriable`, as the Java client does. Of what
isn't, only an answer of the cluster counts as a refusal, not a state of the client, and not an answer that passes with time.
"""

from confluent_kafka import KafkaError as ConfluentError
from kafka.errors import (
    BrokerNotAvailableError,
    BrokerResponseError,
    IllegalArgumentError,
    IncompatibleBrokerVersion,
    KafkaConfigurationError,
    KafkaError,
    OperationNotAttemptedError,
    ReassignmentInProgressError,
    SaslAuthenticationFailedError,
    StaleBrokerEpochError,
    UnknownError,
    for_code,
)

PASSING = (
    UnknownError,
    BrokerNotAvailableError,
    OperationNotAttemptedError,
    ReassignmentInProgressError,
    StaleBrokerEpochError,
    SaslAuthenticationFailedError,
)
"""Not `retriable` for a client that sent one message; for a runbook they are over a moment later. `UnknownError` is also what an
error code is called that this version of the library doesn't know. Credentials may be in a rotation: `security.probe` judges."""

LOCAL_REFUSALS = {"_UNSUPPORTED_FEATURE", "_INVALID_ARG"}


def is_refusal(error: BaseException) -> bool:
    """Whether an error of kafka-python is a refusal."""
    if isinstance(error, PASSING):
        return False
    if isinstance(error, (KafkaConfigurationError, IllegalArgumentError, IncompatibleBrokerVersion)):
        return True
    return isinstance(error, BrokerResponseError) and isinstance(error, KafkaError) and not error.retriable


def is_refusal_of_librdkafka(error: ConfluentError) -> bool:
    """The same for confluent-kafka: a broker's error code by the same table, or librdkafka's own."""
    if error.code() < 0:
        return error.name() in LOCAL_REFUSALS
    return is_refusal(for_code(error.code())())
