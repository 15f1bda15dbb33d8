"""Fakes of the Protocols, all on one `World`."""

from tests.fakes.ensemble import FakeZooKeeper, WorldEnsemble
from tests.fakes.kafka import FakeKafka
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.metrics import FakeMetrics
from tests.fakes.world import MEGABYTE, World

__all__ = ["MEGABYTE", "FakeKafka", "FakeKubernetes", "FakeMetrics", "FakeZooKeeper", "World", "WorldEnsemble"]
