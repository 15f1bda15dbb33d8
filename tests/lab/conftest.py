"""The lab, once for all tests that need it: brought up from the checkout under test, taken down at the end.

A lab that was up before stays up, and so does any with `KAFKA_RUNBOOKS_LAB_KEEP=1`. Without root or Linux the tests are skipped,
except under `CI=true`, where a skipped test would pass for a passed one.
"""

import os
import sys
from collections.abc import Generator, Iterator

import pytest
from kafka_runbooks_lab.errors import LabError, Unsupported
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.host import Host

FAILED = pytest.StashKey[bool]()
HEALTHY_SECONDS = 60
KEEP = os.environ.get("KAFKA_RUNBOOKS_LAB_KEEP") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The lab's own tests first, which have the time to build it; those that take it down last, and those of another flavour."""
    turns = {"test_lab.py": -1, "test_lab_down.py": 1, "test_zookeeper.py": 2, "test_kraft_migration.py": 3}
    items.sort(key=lambda item: turns.get(item.path.name, 0))


def say(line: str) -> None:
    print(line, file=sys.__stderr__, flush=True)


def cannot(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"no lab in CI: {reason}")
    pytest.skip(f"no lab: {reason}")


@pytest.fixture(scope="session")
def host_before() -> Host | None:
    """The host without a lab, or nothing if one was up when the tests began."""
    return None if Lab().is_up() else Host.now()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(autouse=True)
def healthy_afterwards(request: pytest.FixtureRequest) -> Iterator[None]:
    """No run stays open; where a test failed and left a lab that doesn't get healthy, the next one gets a new lab."""
    yield
    if "lab" not in request.fixturenames or not Lab().is_up():
        return
    runs.end_open()
    if request.node.stash.get(FAILED, False):
        lab = Lab(say)
        try:
            lab.wait_ready(seconds=HEALTHY_SECONDS)
        except LabError as error:
            say(f"the lab isn't healthy after {request.node.name}, so it is rebuilt: {error}")
            flavour = lab.flavour()
            lab.down()
            lab.up(flavour=flavour)


@pytest.fixture(scope="session")
def lab(host_before: Host | None) -> Iterator[Lab]:
    """The lab, up: Kubernetes, Kafka, Temporal, the worker."""
    lab = Lab(say)
    try:
        lab.up()
    except Unsupported as error:
        cannot(str(error))
    try:
        yield lab
    finally:
        if not KEEP and host_before is not None:  # one that was up before stays up
            lab.down()
