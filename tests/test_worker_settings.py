"""The worker's settings from the environment: each pool has slots of its own, and what is wrong is named."""

import os
import subprocess
import sys

import pytest

from activities.pools import Pool
from worker.settings import WorkerSettings


def test_each_pool_has_slots_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_RUNBOOKS_COPY_SLOTS", "7")
    slots = WorkerSettings().slots
    assert slots[Pool.COPIES] == 7 and set(slots) == set(Pool)


def test_a_setting_that_is_wrong_is_named_with_exit_code_2() -> None:
    environment = {**os.environ, "KAFKA_RUNBOOKS_LOOK_SLOTS": "0"}
    done = subprocess.run([sys.executable, "-m", "worker"], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "KAFKA_RUNBOOKS_LOOK_SLOTS: Input should be greater than or equal to 1" in done.stderr
