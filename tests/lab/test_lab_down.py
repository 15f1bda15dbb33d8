"""Down leaves nothing behind, whatever happened before: after a whole session of tests, and after a crash of `up`."""

import socket
import subprocess
import sys
import time

import pytest
from kafka_runbooks_lab import paths
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.conftest import KEEP
from tests.lab.host import Host

pytestmark = pytest.mark.skipif(KEEP, reason="KAFKA_RUNBOOKS_LAB_KEEP=1: the lab stays up")


@pytest.fixture(autouse=True)
def _ours_to_take_down(host_before: Host | None) -> None:
    if host_before is None:
        pytest.skip("a lab was up when the tests began: it stays up, and there is no before to compare with")


COMMAND = [sys.executable, "-c", "from kafka_runbooks_lab.cli import main; main()"]


def test_nothing_is_left(lab: Lab, host_before: Host | None) -> None:
    during = Host.now()
    assert during.processes and during.cgroups, "the comparison must see a lab that is up"
    lab.down()
    assert Host.now() == host_before
    assert not paths.STATE.exists()


def test_nothing_is_left_of_an_up_that_was_killed(lab: Lab, host_before: Host | None) -> None:
    lab.down()
    with subprocess.Popen([*COMMAND, "up"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        deadline = time.monotonic() + 60
        while len(list(paths.MACHINES.glob("*.kubelet.json"))) < 3:
            assert time.monotonic() < deadline, "no node came up"
            time.sleep(0.05)
        process.kill()
    assert not lab.is_up()
    assert Host.now().processes
    lab.down()
    after = Host.now()
    assert not after.processes and not after.cgroups and not paths.STATE.exists()
    assert after == host_before


def test_a_taken_port_is_named_and_nothing_is_touched(lab: Lab) -> None:
    lab.down()
    before = Host.now()
    with socket.create_server(("127.0.0.1", 7233)):
        done = subprocess.run([*COMMAND, "up"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "7233" in done.stderr and "Traceback" not in done.stderr
    assert Host.now() == before and not paths.STATE.exists()


# test_lab.py and all others: with TLS
@pytest.mark.soak
@pytest.mark.timeout(600)
def test_without_tls_worker_and_agents_connect_too(lab: Lab) -> None:
    lab.down()
    lab.up(plaintext=True)
    run = runs.fresh()
    runs.start(run, runs.ask(reason="test", node_ids=[1001]), "RollingRestart")
    runs.holds(runs.outcome(run))
