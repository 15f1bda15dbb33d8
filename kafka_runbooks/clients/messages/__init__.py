"""Kafka's protocol messages that kafka-python 3.0 doesn't know; the JSON is Kafka's own (its `common/message` resources).

`UnregisterBroker` is KIP-631's: a broker that is gone for good is struck out of the KRaft controller's registry.
"""

from kafka.protocol.api_message import ApiMessage


class UnregisterBrokerRequest(ApiMessage, load_json=__package__):  # type: ignore[call-arg,misc]
    """Strike a broker out; it must be down, for one that runs registers itself anew."""


class UnregisterBrokerResponse(ApiMessage, load_json=__package__):  # type: ignore[call-arg,misc]
    """`error_code` BROKER_ID_NOT_REGISTERED where it was struck out before."""
