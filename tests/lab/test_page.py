"""The page against the lab: a link made by the command, pressed in a real Chromium by a person, brings a lost broker back.

`tests/page/test_browser.py` shows the same on a world in memory in seconds.
"""

import os
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka_runbooks_lab.lab import Lab
from selenium.webdriver import Chrome

from tests.lab import runs
from tests.lab.runs import ADDRESS, holds, leftovers, outcome, place_of
from tests.page import chromium

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

PORT = 18080
URL = f"http://127.0.0.1:{PORT}"
SECRET = "the proxy's own secret"


@pytest.fixture
def environment(lab: Lab, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "keys").write_text("k" * 64)
    (tmp_path / "proxy").write_text(SECRET)
    return {
        **os.environ,
        "TEMPORAL_ADDRESS": ADDRESS,
        "KAFKA_RUNBOOKS_PAGE_URL": URL,
        "KAFKA_RUNBOOKS_PAGE_ADDRESS": "127.0.0.1",
        "KAFKA_RUNBOOKS_PAGE_PORT": str(PORT),
        "KAFKA_RUNBOOKS_LINK_KEYS_FILE": str(tmp_path / "keys"),
        "KAFKA_RUNBOOKS_PROXY_SECRET_FILE": str(tmp_path / "proxy"),
    }


@pytest.fixture
def page(environment: dict[str, str]) -> Iterator[None]:
    """The page as it is deployed: the command, in a process of its own."""
    command = Path(sys.executable).parent / "kafka-runbooks-page"
    with subprocess.Popen([str(command)], env=environment, stdin=subprocess.DEVNULL) as process:
        try:
            runs.eventually("the page serves", 60, serves)
            yield
        finally:
            process.terminate()
            assert process.wait(30) == 0


def serves() -> bool:
    try:
        with urllib.request.urlopen(f"{URL}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Chrome]:
    """A browser behind a proxy that says who sits before it."""
    with chromium.started(tmp_path / "profile") as driver:
        driver.execute_cdp_cmd("Network.enable", {})
        told = {"X-Proxy-Secret": SECRET, "X-Forwarded-User": "alice"}
        driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": told})
        yield driver


def link(environment: dict[str, str]) -> str:
    command = [
        str(Path(sys.executable).parent / "kafka-runbooks"),
        "link",
        "replace-broker",
        "--cluster",
        "lab",
        "--broker-id",
        "1001",
    ]
    done = subprocess.run(
        [*command, "--node-is-gone", "--throttle.rate-bytes-per-s", "200000"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("size", chromium.SIZES)
def test_a_lost_broker_is_brought_back_by_who_was_asleep_a_minute_ago(
    lab: Lab, environment: dict[str, str], page: None, driver: Chrome, size: str
) -> None:
    lab.wait_ready()
    topic = f"events.{uuid.uuid4().hex[:8]}"
    runs.make_topic(lab, topic)
    _, node, zone = place_of(lab, 1001)
    spare = lab.add_node(zone, "events")
    try:
        lab.kill_node(node)
        chromium.incident(driver, link(environment), size, "lab-", patience_s=500)
        run = str(driver.current_url).removeprefix(f"{URL}/runs/")
        holds(outcome(run))
        assert place_of(lab, 1001)[1] == spare
        assert not any(leftovers(lab).values())
    finally:
        lab.delete_node(node)
        runs.delete_topics(lab, topic)
