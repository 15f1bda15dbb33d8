"""What an exporter's text says of its broker, where some series have more labels than ours."""

import pytest

from kafka_runbooks.clients.metrics.exporter import figures

TOTAL = "kafka_server_bytesin_one_minute_rate 5.0E7\n"
BY_TOPIC = "".join(
    f'kafka_server_bytesin_one_minute_rate{{topic="{topic}"}} {rate}\n' for topic, rate in (("a", 4.9e7), ("b", 12.5))
)


@pytest.mark.parametrize("text", [TOTAL + BY_TOPIC, BY_TOPIC + TOTAL])
def test_series_of_topics_are_not_the_broker_s(text: str) -> None:
    assert figures(text) == {"in_bytes_per_s": 5e7}


def test_more_than_one_series_without_a_total_is_a_problem() -> None:
    with pytest.raises(ValueError, match="more than one series of kafka_server_bytesin_one_minute_rate"):
        figures(BY_TOPIC)


def test_the_order_of_labels_does_not_matter() -> None:
    for labels in ('percentile="99",request="Produce"', 'request="Produce",percentile="99"'):
        assert figures(f"kafka_network_request_total_time_ms{{{labels}}} 12.0\n") == {"produce_p99_ms": 12}
