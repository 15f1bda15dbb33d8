"""The lab, once for all tests that need it: brought up from the checkout under test, taken down at the end.

`KAFKA_RUNBOOKS_LAB_KEEP=1` leaves it up between runs. Without root or Linux the tests are skipped, except under
`CI=true`, where a skipped test would pass for a passed one.
"""

import os
import sys
from collections.abc import Iterator

import pytest
from kafka_runbooks_lab.errors import Unsupported
from kafka_runbooks_lab.lab import Lab


def _say(line: str) -> None:
    print(line, file=sys.__stderr__, flush=True)


def cannot(reason: str) -> None:
    """Skip the test because this host can't carry the lab; in CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"no lab in CI: {reason}")
    pytest.skip(f"no lab: {reason}")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab, up: Kubernetes, Kafka, Temporal, the worker."""
    lab = Lab(_say)
    try:
        lab.up()
    except Unsupported as error:
        cannot(str(error))
    try:
        yield lab
    finally:
        if os.environ.get("KAFKA_RUNBOOKS_LAB_KEEP") != "1":
            lab.down()
