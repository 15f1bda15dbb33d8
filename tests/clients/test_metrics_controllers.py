"""What a controller's exporter says, read; the real ones are in tests/clients/test_kraft_migration.py."""

import pytest

from kafka_runbooks.clients.metrics.controllers import ExporterControllers, state
from kafka_runbooks.models.kraft_migration import ControllerState, ZkMigrationState
from kafka_runbooks.models.kubernetes import ControllerPod

TEXT = """# HELP kafka_raft_current_leader x
kafka_raft_current_leader 3001.0
kafka_raft_current_epoch 7.0
kafka_controller_last_applied_record_lag_ms 120.0
kafka_controller_zk_migration_state 2.0
kafka_controller_migrating_zk_broker_count 1.0
"""


def test_whom_it_follows_and_how_far_it_is() -> None:
    assert state(3002, TEXT) == ControllerState(
        node_id=3002, leader_id=3001, epoch=7, lag_seconds=0.12, state=ZkMigrationState.PRE_MIGRATION, waiting_brokers=1
    )
    assert not state(3002, TEXT).is_active and state(3001, TEXT).is_active
    assert state(3002, TEXT.replace("3001.0", "-1.0")).leader_id is None
    assert state(3002, TEXT.replace("state 2.0", "state -1.0")).state is None, "of one that has just started"


def test_rules_that_lack_an_mbean_are_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="no kafka_controller_zk_migration_state: do the exporter's rules name"):
        state(3002, TEXT.replace("zk_migration_state", "other"))


def test_pods_that_can_not_be_asked_say_why() -> None:
    pods = [
        ControllerPod(name="controller-0", uid="1", stateful_set="controller", node_id=None),
        ControllerPod(name="controller-1", uid="2", stateful_set="controller", node_id=2),
        ControllerPod(name="controller-2", uid="3", stateful_set="controller", node_id=3, pod_ip="127.0.9.250"),
    ]
    found = ExporterControllers(1).states(pods)
    assert "doesn't tell its node id" in str(found["controller-0"]) and "has no address yet" in str(found["controller-1"])
    assert "doesn't answer" in str(found["controller-2"])
