"""What the agent says of a properties file that has changed: keys always, a value only where Kafka says that it may be told."""

import os
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.agent.properties_file import MOST_BYTES, FileWatch, differences
from kafka_runbooks.agent.settings import AgentSettings
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.kubernetes import register
from kafka_runbooks.models.kubernetes import BrokerPod, FileChanges
from tests.agent.fake_register import FakeRegister

POD = "events-0"
BEFORE = "num.io.threads=8\nlog.dirs=/data\nssl.keystore.password=old-secret\n"
AFTER = "num.io.threads = 16\nlog.dirs=/data\nssl.keystore.password=new-secret\nqueued.max.requests:\\\n  600\n"
FILES = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xyz"))


class Pod(FakeRegister):
    """Files of a pod, the register, and a broker that knows what it can apply."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.started, self.mounted, self.override = (
            folder / "started",
            folder / "broker.properties",
            folder / "override.properties",
        )
        self.is_silent = False
        self.watch = FileWatch(
            self, "main", POD, files=(self.mounted, self.override), started=self.started, updatable=self.updatable
        )

    def start(self, text: str) -> None:
        self.started.write_text(text)
        self.mounted.write_text(text)

    def updatable(self, names: Collection[str]) -> frozenset[str]:
        if self.is_silent:
            raise Unreachable("no answer")
        return frozenset(names) & {"num.io.threads", "log.retention.ms"}

    @property
    def changes(self) -> FileChanges:
        return register.file_changes(self.data)[POD]


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    pod = Pod(tmp_path)
    pod.start(BEFORE)
    return pod


def test_nothing_has_changed_and_is_said_once(pod: Pod) -> None:
    pod.watch.poll()
    pod.watch.poll()
    assert (pod.changes.changed, pod.changes.pod_uid, pod.writes) == ({}, "uid-1", 1)


def test_keys_are_named_and_only_values_that_may_be_told(pod: Pod) -> None:
    pod.watch.poll()
    pod.mounted.write_text(AFTER)
    pod.override.write_text("num.io.threads=32\n")
    pod.watch.poll()
    assert pod.changes.changed == {"num.io.threads": "32", "queued.max.requests": None, "ssl.keystore.password": None}
    assert "secret" not in "".join(pod.data.values())
    pod.mounted.write_text("log.dirs=/data\nssl.keystore.password=old-secret\n")
    pod.override.unlink()
    pod.watch.poll()
    assert pod.changes.changed == {"num.io.threads": None}, "what is no longer there has no value to apply"
    pod.mounted.write_text(BEFORE)
    pod.watch.poll()
    assert pod.changes.changed == {}


def test_what_is_published_is_bounded_however_much_has_changed(pod: Pod) -> None:
    pod.mounted.write_text(BEFORE.replace("8", "9") + f"log.retention.ms={'1' * 2 * MOST_BYTES}\n")
    pod.watch.poll()
    assert pod.changes.changed == {"log.retention.ms": None, "num.io.threads": None}, "all values or none"
    pod.mounted.write_text("".join(f"listener.name.number.{number}={number}\n" for number in range(1000)))
    pod.watch.poll()
    assert pod.changes.changed and len(*pod.data.values()) < MOST_BYTES + 200


def test_a_broker_that_does_not_say_what_it_can_apply_has_its_keys_named(pod: Pod) -> None:
    pod.is_silent = True
    pod.mounted.write_text(AFTER)
    pod.watch.poll()
    assert set(pod.changes.changed) == {"num.io.threads", "queued.max.requests", "ssl.keystore.password"}
    assert set(pod.changes.changed.values()) == {None}
    pod.is_silent = False
    pod.watch.poll()
    told = pod.changes
    assert told.changed["num.io.threads"] == "16"
    pod.is_silent = True
    pod.watch.poll()
    assert pod.changes == told, "what was told of the same keys stays"


def test_a_restart_begins_anew_and_what_was_said_before_it_is_not_of_it(pod: Pod) -> None:
    pod.mounted.write_text(AFTER)
    pod.watch.poll()
    before = pod.changes
    pod.start(AFTER)
    later = datetime.now(UTC) + timedelta(seconds=60)
    os.utime(pod.started, (later.timestamp(), later.timestamp()))
    seen = BrokerPod(
        name=POD, uid="uid-1", broker_id=1, map="events", stateful_set="events", started_at=later.replace(microsecond=0)
    )
    assert before.changed and not before.is_of(seen), "until the agent has looked, nothing is known"
    pod.watch.poll()
    assert pod.changes.changed == {} and pod.changes.is_of(seen)
    assert not pod.changes.is_of(seen.model_copy(update={"uid": "another"}))
    assert not pod.changes.is_of(seen.model_copy(update={"started_at": None}))


def test_a_start_script_that_keeps_nothing_is_an_error_and_nothing_is_said(pod: Pod) -> None:
    pod.started.unlink()
    with pytest.raises(OSError):
        pod.watch.poll()
    assert not pod.data


@given(FILES, FILES)
def test_differences_are_what_brings_one_to_the_other(before: dict[str, str], now: dict[str, str]) -> None:
    changed = differences(before, now)
    kept = {key: value for key, value in before.items() if key not in changed}
    assert kept | {key: now[key] for key in changed & now.keys()} == now
    assert all(before.get(key) != now.get(key) for key in changed)


def test_an_entry_of_a_file_is_no_broker_id(pod: Pod) -> None:
    pod.watch.poll()
    assert register.broker_ids({**pod.data, POD: "1001"}) == {POD: 1001} and register.last_starts(pod.data) == {}


def test_files_are_named_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"POD_NAME": "p", "POD_NAMESPACE": "n", "NODE_NAME": "n", "CLUSTER": "c", "FIRST_BROKER_ID": "1"}.items():
        monkeypatch.setenv(name, value)
    assert AgentSettings().properties_files == ()
    monkeypatch.setenv("PROPERTIES_FILES", "/a/b,/c")
    assert AgentSettings().properties_files == (Path("/a/b"), Path("/c"))
    monkeypatch.setenv("PROPERTIES_FILES", "")
    assert AgentSettings().properties_files == ()
