"""Records in ConfigMaps: old or new and never a mix, replaced only as read, and unreadable ones by name."""

import contextlib
import random
from datetime import UTC, datetime, timedelta

import pytest

from kafka_runbooks.clients import store
from kafka_runbooks.clients.errors import Conflict, Refused
from kafka_runbooks.models.base import Model
from kafka_runbooks.models.ledger import Owner
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.world import World


class Text(Model):
    text: str


class Died(BaseException):
    """The worker's end."""


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch) -> FakeKubernetes:
    monkeypatch.setattr(store, "PART_BYTES", 100)
    return FakeKubernetes(World(advance_at_look=False))


def text(seed: int, length: int) -> Text:
    """What doesn't compress."""
    return Text(text=random.Random(seed).randbytes(length // 2).hex())


def save(kubernetes: FakeKubernetes, value: Text, version: str | None = store.ANY) -> str:
    return store.save(kubernetes, store.PLAN, "plan", value, "words", version=version)


@pytest.mark.parametrize(("before", "after"), [(1_000, 1_200), (1_200, 1_000), (20, 1_000), (1_000, 20)])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_record_is_the_old_one_or_the_new_one_wherever_its_writer_dies(
    kubernetes: FakeKubernetes, before: int, after: int, when: str
) -> None:
    """The parts of the new value were written over those of the old one: part 0 of one with part 1 of the other."""
    world, old, new = kubernetes.world, text(1, before), text(2, after)
    left = number = 0

    def count(name: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Died

    while left <= 0:
        world.records.clear()
        world.record_versions.clear()
        save(kubernetes, old)
        number += 1
        left = number
        setattr(world, f"{when}_act", count)
        with contextlib.suppress(Died):
            save(kubernetes, new)
        world.before_act = world.after_act = lambda name: None
        assert store.load(kubernetes, "plan", Text) in (old, new), number
        save(kubernetes, new)
        assert store.load(kubernetes, "plan", Text) == new
    assert number > 2, "it died at each act, and then at none"


def test_a_record_is_replaced_only_as_it_was_read(kubernetes: FakeKubernetes) -> None:
    first = save(kubernetes, text(1, 20), None)
    second = save(kubernetes, text(2, 20), first)
    for version in (first, None):
        with pytest.raises(Conflict, match="record plan was changed by someone else"):
            save(kubernetes, text(3, 20), version)
    with pytest.raises(Conflict):
        store.remove(kubernetes, "plan", version=first)
    store.remove(kubernetes, "plan", version=second)
    with pytest.raises(Conflict, match="record plan was deleted by someone else"):
        save(kubernetes, text(3, 20), second)
    assert kubernetes.world.records == {}, "what was cleared comes back by nobody's late write"


def test_a_late_writer_is_noticed_also_between_its_look_and_its_write(kubernetes: FakeKubernetes) -> None:
    first = save(kubernetes, text(1, 20))
    version = kubernetes.world.record_versions

    def overtake(name: str) -> None:
        kubernetes.world.before_act = lambda name: None
        version["plan"] = "another"

    kubernetes.world.before_act = overtake
    with pytest.raises(Conflict):
        save(kubernetes, text(2, 20), first)


def test_one_that_is_replaced_while_it_is_read_is_read_again(kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    save(kubernetes, text(1, 1_000))
    read, new = kubernetes.read_record, text(2, 1_000)

    def replaced(name: str) -> object:
        found = read(name)
        if name == "plan":
            monkeypatch.setattr(kubernetes, "read_record", read)
            save(kubernetes, new)
        return found

    monkeypatch.setattr(kubernetes, "read_record", replaced)
    assert store.load(kubernetes, "plan", Text) == new


@pytest.mark.parametrize("data", [b"", b"no gzip", None])
def test_what_cannot_be_read_is_named_with_what_to_do(kubernetes: FakeKubernetes, data: bytes | None) -> None:
    save(kubernetes, text(1, 1_000 if data is None else 20))
    if data is None:
        part = next(name for name in kubernetes.world.records if name != "plan")
        del kubernetes.world.records[part]
    else:
        kubernetes.world.records["plan"] = ("plan", {"json.gz": data, "summary": b"broker 7: 5 B/s\nnode n"})
        kubernetes.world.record_annotations["plan"] = {}
    with pytest.raises(Refused, match=r"record plan can't be read: .*kubectl delete configmap plan") as raised:
        store.load(kubernetes, "plan", Text)
    assert data is None or "It says: broker 7: 5 B/s; node n." in str(raised.value)


def test_parts_that_nobody_names_are_removed_once_they_are_old(kubernetes: FakeKubernetes) -> None:
    save(kubernetes, text(1, 1_000))
    kept = dict(kubernetes.world.records)
    now = datetime.now(UTC)
    for name, age in (("young", timedelta(minutes=5)), ("old", timedelta(hours=2))):
        kubernetes.world.records[name] = ("plan-part", {"json.gz": b""})
        kubernetes.world.record_annotations[name] = {"written-at": (now - age).isoformat()}
    assert store.remove_stray_parts(kubernetes, store.PLAN) == ("old",)
    assert set(kubernetes.world.records) == {*kept, "young"}


def test_who_looks_for_old_records_reads_none_of_them(kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred plans of a large cluster are half a gigabyte, and each run looks for old ones at its start."""
    owner = Owner(workflow_id="w", run_id="r", expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    for number in range(3):
        store.save(kubernetes, store.PLAN, f"plan-{number}", text(number, 1_000), "words", owner=owner)
    monkeypatch.setattr(kubernetes, "read_record", lambda name: pytest.fail(f"{name} is read"))
    found = store.written(kubernetes, store.PLAN)
    assert [one.name for one in found] == ["plan-0", "plan-1", "plan-2"] and {one.owner for one in found} == {owner}
    assert datetime.now(UTC) - min(one.at for one in found) < timedelta(minutes=1)
    assert store.remove_stray_parts(kubernetes, store.PLAN) == ()


def test_a_summary_that_grows_with_the_cluster_is_cut(kubernetes: FakeKubernetes) -> None:
    lines = [f"topic a-topic-of-a-large-cluster-{number}: 4 leader and 4 follower throttled replicas" for number in range(20_000)]
    store.save(kubernetes, store.LEDGER, "ledger", text(1, 20), "\n".join(lines))
    *shown, last = kubernetes.world.records["ledger"][1]["summary"].decode().splitlines()
    assert shown == lines[: len(shown)] and last == f"… and {20_000 - len(shown)} more lines"
