"""Metadata that are decoded straight into partitions, against kafka-python's own decoding of the same bytes."""

import io
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.metadata import MetadataResponse

from kafka_runbooks.clients.kafka import answers
from kafka_runbooks.clients.kafka.metadata import NEWEST, OLDEST, CompactMetadataRequest, decode

TOPIC, BROKER = MetadataResponse.MetadataResponseTopic, MetadataResponse.MetadataResponseBroker
IDS = st.lists(st.integers(0, 2**31 - 1) | st.integers(1, 400), max_size=5, unique=True)
VERSIONS = range(OLDEST, min(NEWEST, MetadataResponse.max_version) + 1)


@st.composite
def responses(draw: st.DrawFn) -> tuple[Any, int]:
    version = draw(st.sampled_from(VERSIONS))

    def partition(number: int) -> Any:
        many = draw(st.integers(0, 20)) == 0
        replicas = list(range(draw(st.sampled_from([62, 63, 64, 126, 127, 200])))) if many else draw(IDS)
        in_sync = replicas if draw(st.booleans()) else draw(IDS)
        leader = draw(st.sampled_from([-1, *replicas]))
        return TOPIC.MetadataResponsePartition(
            version=version,
            error_code=draw(st.sampled_from([0, 5])),
            partition_index=number,
            leader_id=leader,
            leader_epoch=7,
            replica_nodes=replicas,
            isr_nodes=in_sync,
            offline_replicas=draw(IDS),
        )

    def topic(name: str) -> Any:
        return TOPIC(
            version=version,
            error_code=draw(st.sampled_from([0, 0, 0, 3])),
            name=name,
            topic_id=uuid.UUID(int=draw(st.integers(0, 2**128 - 1))),
            is_internal=draw(st.booleans()),
            partitions=[partition(number) for number in draw(st.permutations(range(draw(st.integers(0, 4)))))],
        )

    racks = draw(st.lists(st.none() | st.text("abc", max_size=3), max_size=3))
    names = draw(st.lists(st.text(min_size=1, max_size=200), max_size=4, unique=True))
    response = MetadataResponse(
        version=version,
        throttle_time_ms=draw(st.integers(0, 100)),
        brokers=[BROKER(version=version, node_id=n + 1, host=f"b{n}", port=9092, rack=rack) for n, rack in enumerate(racks)],
        cluster_id=draw(st.none() | st.text(max_size=5)),
        controller_id=draw(st.integers(-1, 3)),
        topics=[topic(name) for name in names],
    )
    return response, version


@given(responses())
def test_both_decode_the_same(made: tuple[Any, int]) -> None:
    response, version = made
    data = bytes(response.encode(version=version))
    found = decode(data, version)
    assert found.throttle_time_ms == response.throttle_time_ms
    assert answers.metadata(found, 1) == answers.metadata(MetadataResponse.decode(data, version=version), 1)
    for end in range(0, len(data), 1 + len(data) // 5):
        with pytest.raises(ValueError):
            decode(data[:end], version)


@pytest.mark.parametrize("version", [OLDEST - 1, OLDEST, VERSIONS[-1]])
def test_a_request_says_how_its_answer_is_decoded_and_leaves_an_older_one_to_the_library(version: int) -> None:
    request = CompactMetadataRequest(topics=None, allow_auto_topic_creation=False)
    request.API_VERSION = version
    request.with_header(correlation_id=5, client_id="c")
    assert request.encode(framed=True, header=True)[4:8] == bytes([0, 3, 0, version])
    made = MetadataResponse(version=version, throttle_time_ms=3, brokers=[], cluster_id="x", controller_id=1, topics=[])
    made.with_header(correlation_id=5)
    buffer = io.BytesIO(made.encode(header=True))
    kind = request.header.get_response_class()
    assert kind.parse_header(buffer).correlation_id == 5
    assert answers.metadata(kind.decode(buffer), 1).cluster_id == "x"
