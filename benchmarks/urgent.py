"""How soon partitions that refuse writes take them again: `uv run python -m benchmarks.urgent [--json]`.

A real Kafka of four brokers on loopback with its exporter. Two of the three brokers of a topic are lost (6 partitions, 30 MB,
min.insync.replicas 2); one comes back with an empty disk, under an adapting throttle of 1 to 2 MB/s, together with its part of
another topic (90 MB) that has two live copies. The time runs from the broker's registration until every partition takes acks=all
writes: once as a runbook does it, and once as if nobody knew what is urgent.
"""

import argparse
import json
import tempfile
from pathlib import Path
from unittest import mock

from activities import throttle
from tests.fakes.fence import FakeFence
from tests.throttle.two_lost import TwoLost, started


def measure(*, urgent_first: bool) -> dict[str, float]:
    """One recovery on a cluster of its own."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(throttle, "Fence", FakeFence):
        kafka = started(Path(folder))
        try:
            site = TwoLost(kafka)
            site.lose()
            found = site.recover(urgent_first=urgent_first)
            site.give_back()
            site.admin.close()
        finally:
            kafka.stop()
    return {"seconds": round(found.seconds, 1), "rest_left_bytes": found.left_bytes}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.urgent", description="How soon what refuses writes takes them again.")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    asked = parser.parse_args()
    found = {name: measure(urgent_first=first) for name, first in (("urgent_first", True), ("all_alike", False))}
    if asked.json:
        print(json.dumps(found))
        return
    for name, figures in found.items():
        print(f"{name}: every partition takes writes after {figures['seconds']:.1f} s, {figures['rest_left_bytes']} bytes left")


if __name__ == "__main__":
    main()
