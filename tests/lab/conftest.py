"""The lab, once for all tests that need it: brought up from the checkout under test, taken down at the end.

A lab that was up
before stays up, and so does any with `KAFKA_RUNBOOKS_LAB_KEEP=1`. Without root or Linux the tests are skipped, except under
`CI=true`, where a skipped test would pass for a passed one.
"""

import os
import sys
from collections.abc import Iterator

import pytest
from kafka_runbooks_lab.errors import Unsupported
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.host import Host

KEEP = os.environ.get("KAFKA_RUNBOOKS_LAB_KEEP") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The lab's own tests first, which have the time to build it; those that take it down last."""
    turns = {"test_lab.py": -1, "test_lab_down.py": 1}
    items.sort(key=lambda item: turns.get(item.path.name, 0))


def _say(line: str) -> None:
    print(line, file=sys.__stderr__, flush=True)


def _cannot(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"no lab in CI: {reason}")
    pytest.skip(f"no lab: {reason}")


@pytest.fixture(scope="session")
def host_before() -> Host | None:
    """The host without a lab, or nothing if one was up when the tests began."""
    return None if Lab().is_up() else Host.now()


@pytest.fixture(autouse=True)
def no_run_stays_open(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "lab" in request.fixturenames and Lab().is_up():
        runs.end_open()


@pytest.fixture(scope="session")
def lab(host_before: Host | None) -> Iterator[Lab]:
    """The lab, up: Kubernetes, Kafka, Temporal, the worker."""
    lab = Lab(_say)
    try:
        lab.up()
    except Unsupported as error:
        _cannot(str(error))
    try:
        yield lab
    finally:
        if not KEEP and host_before is not None:  # one that was up before stays up
            lab.down()
