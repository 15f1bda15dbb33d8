"""Which of Kafka's errors end a step, and which are tried again: by the library's own word, and for both libraries alike."""

from contextlib import nullcontext

import pytest
from confluent_kafka import KafkaError as ConfluentError
from confluent_kafka import KafkaException
from kafka import errors

from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.clients.kafka import confluent
from kafka_runbooks.clients.kafka.kafka_python import KafkaPythonAdmin
from kafka_runbooks.clients.kafka.refusals import is_refusal
from kafka_runbooks.clients.security.connection import Connection

REFUSALS = [
    errors.ClusterAuthorizationFailedError,
    errors.TopicAuthorizationFailedError,
    errors.UnsupportedVersionError,
    errors.IncompatibleBrokerVersion,
    errors.PolicyViolationError,
    errors.InvalidRequestError,
    errors.InvalidConfigurationError,
    errors.InvalidReplicationAssignmentError,
    errors.SecurityDisabledError,
]
PASSING = [
    errors.RequestTimedOutError,
    errors.KafkaTimeoutError,
    errors.KafkaConnectionError,
    errors.NodeNotReadyError,
    errors.UnknownBrokerIdError,
    errors.NotControllerError,
    errors.LeaderNotAvailableError,
    errors.UnknownTopicOrPartitionError,
    errors.ReassignmentInProgressError,
    errors.BrokerNotAvailableError,
    errors.UnknownError,
    errors.KafkaProtocolError,
    errors.SaslAuthenticationFailedError,  # maybe of one broker, maybe in a rotation: `security.probe` judges
]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.__name__)
def test_a_refusal_is_told_by_its_type(error: type[errors.KafkaError]) -> None:
    assert is_refusal(error())


@pytest.mark.parametrize("error", PASSING, ids=lambda error: error.__name__)
def test_what_passes_is_tried_again(error: type[errors.KafkaError]) -> None:
    assert not is_refusal(error())


def test_a_code_that_the_library_does_not_know_is_tried_again() -> None:
    assert not is_refusal(errors.for_code(4711)())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ClusterAuthorizationFailedError(), Refused),
        (errors.RequestTimedOutError(), Unreachable),
        (ConnectionResetError(), Unreachable),
        (None, None),
    ],
)
def test_kafka_pythons_errors_become_public_classes(error: Exception | None, expected: type[Exception] | None) -> None:
    """Temporal knows an error by its exact class name, so a subclass would be retried for ever."""
    admin = KafkaPythonAdmin(Connection("127.0.0.1:1"))
    raised = pytest.raises(expected) if expected else nullcontext()
    with raised as found, admin._mapped("ask"):
        if error is not None:
            raise error
    if found is not None:
        assert type(found.value) is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (ConfluentError.CLUSTER_AUTHORIZATION_FAILED, Refused),
        (ConfluentError.UNSUPPORTED_VERSION, Refused),
        (ConfluentError.POLICY_VIOLATION, Refused),
        (ConfluentError.SASL_AUTHENTICATION_FAILED, Unreachable),
        (ConfluentError._AUTHENTICATION, Unreachable),
        (ConfluentError.REQUEST_TIMED_OUT, Unreachable),
        (ConfluentError._TRANSPORT, Unreachable),
    ],
)
def test_librdkafkas_errors_are_judged_alike(code: int, expected: type[Exception]) -> None:
    with pytest.raises(expected) as found, confluent.mapped("ask"):
        raise KafkaException(ConfluentError(code))
    assert type(found.value) is expected
