"""`RotateCertificates` on a real Temporal: three modes, what brokers refuse, and whatever happens in between."""

import base64
import gzip
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from activities import rotation_views, rotations
from kafka_runbooks.clients.certificates import pem
from kafka_runbooks.clients.certificates.protocols import Leaf
from kafka_runbooks.clients.clusters import CertificateClients
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.security.settings import Security
from kafka_runbooks.models.certificates import ClientHandshake, ClientSecret
from kafka_runbooks.models.operator import Abort, Approval
from kafka_runbooks.models.results import Outcome
from tests.fakes.certificates import FakeHandshakes, FakeIssuer, FakeSecrets, Fault, Tls
from tests.fakes.world import World
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import failure, until
from tests.workflows.test_rolling_restart import ME, is_done, restarts, uids
from workflows.rotate_certificates import RotateCertificates

YES = Approval(by="alice", reason="because")
BROKERS, CONTROLLER = (1001, 1002, 1003), 1
NODES = (*BROKERS, CONTROLLER)


@pytest.fixture
def world() -> World:
    world = World(maps=("events",), controllers=1, step_s=2.0, link_bytes_per_s=100_000_000)
    world.shutdown_steps, world.start_steps = 1, 1
    world.add_topic("events.a", 3, (1001, 1002, 1003), minimum_in_sync=2)
    return world


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotations, "PROOF_SECONDS", 5.0)
    monkeypatch.setattr(rotations, "UNTOLD_SECONDS", 5.0)
    monkeypatch.setattr(rotation_views, "SKEW", timedelta())


class Rotations:
    """A bench whose cluster speaks TLS."""

    def __init__(self, runbooks: Bench, folder: Path) -> None:
        self.runbooks, self.world = runbooks, runbooks.world
        self.tls = self.world.tls = Tls(self.world, folder)
        self.issuers = {"old": FakeIssuer(self.tls.old), "new": FakeIssuer(self.tls.new)}
        clients = CertificateClients(
            FakeSecrets(self.tls),
            self.issuers,
            "old",
            FakeHandshakes(self.tls),
            tuple(ClientSecret(name=name, secret=f"{name}-tls") for name in ("worker", "agent")),
        )
        security = Security(
            protocol="SSL",
            ca_file=folder / "ca.crt",
            certificate_file=folder / "tls.crt",
            key_file=folder / "tls.key",
        )
        runbooks.clusters.speak_tls(clients, security)

    async def start(self, mode: str = "renew", **fields: object) -> Any:
        issuer = {"issuer": "new"} if mode == "change-authority" else {}
        asked = {"mode": mode, "reason": "a test", "wait_for_approval": False, **issuer, **fields}
        return await self.runbooks.start_runbook("RotateCertificates", **asked)

    def let_expire(self) -> None:
        """The certificates of all nodes."""
        self.let_end_in(-1)

    def let_end_in(self, days: int) -> None:
        """The certificates of all nodes."""
        for pod in self.tls.pods:
            leaf = self.tls.old.issue(f"CN={pod.name},O=kafka", [f"{pod.name}.kafka"], days=days, age_days=80)
            self.tls.secrets[self.tls.secret_of(pod)][f"{pod.name}.pem"] = pem.keystore(leaf)
            self.tls.replace(pod)

    def served(self) -> dict[int, str]:
        return {node_id: self.tls.served(node_id) for node_id in NODES}

    def former(self) -> list[str]:
        return [key for data in self.tls.secrets.values() for key in data if key.endswith((".previous", ".written-at"))]


@pytest.fixture
def rotating(runbooks: Bench, tmp_path: Path) -> Rotations:
    return Rotations(runbooks, tmp_path)


async def approve_drop(handle: Any) -> str:
    status = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None, 60)
    assert status.waiting is not None
    await handle.execute_update(RotateCertificates.approve, YES)
    return str(status.waiting.reason)


async def test_all_certificates_are_renewed_one_broker_first_and_nothing_restarts(rotating: Rotations) -> None:
    tls, before, pods = rotating.tls, rotating.served(), uids(rotating.world)
    result = await (await rotating.start()).result()
    is_done(result)
    after = rotating.served()
    assert all(after[node_id] != before[node_id] for node_id in NODES)
    assert uids(rotating.world) == pods and tls.cut_off == [] and rotating.former() == []
    first, *others = dict.fromkeys(tls.reloads)
    assert first in BROKERS and set(others) == {*NODES} - {first}
    assert others[-1] == CONTROLLER
    assert {check.name for check in result.checks} >= {"certificates as asked for", "everybody trusts everybody"}
    subjects = [request.subject for request in rotating.issuers["old"].issued]
    assert subjects[:3] == ["CN=worker,O=kafka-runbooks", "CN=agent,O=kafka-runbooks", subjects[2]], "ours first"
    assert len(subjects) == len(set(subjects)) == 6


@pytest.mark.parametrize("has_agents", [False, True])
async def test_a_change_of_authority_with_its_own_question_before_the_old_one_is_dropped(
    rotating: Rotations, has_agents: bool
) -> None:
    """Brokers restart once and controllers twice, whether agents run beside these or not."""
    tls, order = rotating.tls, restarts(rotating.world)
    if has_agents:
        tls.no_agent.clear()
    handle = await rotating.start("change-authority")
    question = await approve_drop(handle)
    assert question.startswith("drop the old authority?")
    is_done(await handle.result())
    assert {tls.authority_of(node_id) for node_id in NODES} == {"new"}
    assert all(tls.trusts(node_id) == {"new"} for node_id in NODES)
    assert tls.cut_off == [] and rotating.former() == []
    assert set(order) == {*NODES}
    assert len(tls.made_at) == len(NODES) + 5, "three brokers once, the controller twice"


async def test_what_an_agent_told_before_its_pod_went_holds_up_nobody(rotating: Rotations) -> None:
    """The records of a broker that was removed, and of one that was made anew elsewhere, with the agent's certificate of then."""
    tls, world = rotating.tls, rotating.world
    former = tls.record_of(world.pods["events-0"]).model_copy(update={"own_sha256": {"certificate": "0" * 64, "ca": "0" * 64}})
    tls.records["events-7"] = former.model_copy(update={"pod_uid": "gone"})
    is_done(await (await rotating.start()).result())
    assert rotating.former() == []


async def test_without_restarts_both_authorities_stay_and_a_later_run_ends_it(rotating: Rotations) -> None:
    tls, pods = rotating.tls, uids(rotating.world)
    is_done(await (await rotating.start("change-authority", restarts="later")).result())
    assert uids(rotating.world) == pods and tls.cut_off == []
    assert {node_id: tls.authority_of(node_id) for node_id in NODES} == {
        **dict.fromkeys(BROKERS, "new"),
        CONTROLLER: "old",
    }
    assert all(tls.trusts(node_id) == {"old", "new"} for node_id in NODES)
    handle = await rotating.start("change-authority")
    await approve_drop(handle)
    is_done(await handle.result())
    assert all(tls.trusts(node_id) == {"new"} for node_id in NODES) and tls.cut_off == []


async def test_who_still_presents_old_certificates_is_named_before_the_drop_and_a_rejection_leaves_both(
    rotating: Rotations,
) -> None:
    """Nodes and our own clients, which have new ones by now, are in the logs too, and are not meant."""
    tls = rotating.tls
    billing = ClientHandshake(host="10.0.0.7", subject="CN=billing, O=example", issuer="CN=old")
    others = [
        ClientHandshake(host="10.0.0.1", subject="CN=events-0, O=kafka", issuer="CN=old"),
        ClientHandshake(host="10.0.0.2", subject="CN=worker, O=kafka-runbooks", issuer="CN=old"),
        ClientHandshake(host="10.0.0.8", subject="CN=search", issuer="CN=new"),
    ]
    tls.client_handshakes = (billing, *others)
    handle = await rotating.start("change-authority")
    status = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None, 60)
    assert status.waiting is not None
    assert status.waiting.reason.endswith("; still seen with it: CN=billing, O=example at 10.0.0.7"), status.waiting.reason
    await handle.execute_update(RotateCertificates.reject, ME)
    assert (await failure(handle)).outcome is Outcome.REJECTED
    assert all(tls.trusts(node_id) == {"old", "new"} for node_id in NODES)
    tls.client_handshakes = tuple(others)
    is_done(await (await rotating.start("change-authority")).result())
    assert all(tls.trusts(node_id) == {"new"} for node_id in NODES) and tls.cut_off == []


@pytest.mark.parametrize("fault", ["subject", "authority", "broken PEM", "key"])
async def test_a_canary_that_refuses_its_certificate_gets_its_former_back_and_nothing_else_is_touched(
    rotating: Rotations, fault: Fault
) -> None:
    """Whatever an issuer returns: the broker's dry run says why, or that it doesn't start the reload proves it."""
    tls, before = rotating.tls, rotating.served()
    rotating.issuers["old"].faults["events-1"] = fault
    secrets = {name: dict(data) for name, data in tls.secrets.items() if "kafka" in name}
    result = await failure(await rotating.start(canary_node_id=1002))
    assert result.outcome is Outcome.FAILED and "broker 1002 refuses the new files" in result.summary, result.summary
    assert "taken back, proven by handshakes" in result.summary and "NOT" not in result.summary
    assert rotating.served() == before and tls.cut_off == []
    for name, data in secrets.items():
        assert tls.secrets[name] == data
    assert set(tls.reloads) <= {1002}, "only to take it back"


@pytest.mark.parametrize(("broken", "canary"), [("another key", 1001), ("no PEM", 1002)])
async def test_what_somebody_breaks_in_a_secret_after_its_proof_is_found(
    rotating: Rotations, broken: str, canary: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The canary serves its new certificate, and at its next start it wouldn't come up; nor would our agent connect."""
    tls, secret, name = rotating.tls, "kafka-events-tls", f"events-{canary - 1001}"
    before, stranger = rotating.served()[canary], tls.old.issue(f"CN={name},O=kafka", [f"{name}.kafka"])
    spoilt = list[bytes]()

    def spoil(act: str) -> None:
        data = tls.secrets[secret]
        if act == "write_secret" and not spoilt and sum(key.endswith(".pem.previous") for key in data) > 1:
            good = pem.leaf_of(data[f"{name}.pem"])
            assert good is not None
            spoilt.append(data[f"{name}.pem"])
            data[f"{name}.pem"] = pem.keystore(Leaf(good.chain, stranger.key)) if broken == "another key" else spoilt[0][:200]
            tls.secrets["agent-tls"]["tls.key"] = stranger.key.encode()

    monkeypatch.setattr(rotating.world, "after_act", spoil)
    is_done(await (await rotating.start(canary_node_id=canary)).result())
    assert spoilt
    assert all(pem.is_usable(tls.secrets[secret][f"events-{number}.pem"]) for number in range(3))
    assert before != pem.certificates(tls.secrets[secret][f"{name}.pem"])[0].sha256 and before != rotating.served()[canary]
    agent = tls.secrets["agent-tls"]
    assert pem.is_usable(agent["tls.key"] + b"\n" + agent["tls.crt"])
    assert rotating.former() == [] and tls.cut_off == []


@pytest.mark.parametrize("fault", ["authority", "key"])
async def test_a_controller_loads_whatever_fits_no_connection_and_a_handshake_finds_it_out(
    rotating: Rotations, fault: Fault
) -> None:
    before = rotating.served()
    rotating.issuers["old"].faults["controller-0"] = fault
    result = await failure(await rotating.start())
    assert "controller 1 doesn't use the new files; taken back, proven by handshakes" in result.summary, result.summary
    assert rotating.served()[CONTROLLER] == before[CONTROLLER] and CONTROLLER in rotating.tls.reloads


async def test_what_a_dry_run_does_not_tell_a_handshake_does(rotating: Rotations) -> None:
    tls, before = rotating.tls, rotating.served()
    tls.rejects, tls.rejects_silently = {"events-1"}, {"events-1"}
    result = await failure(await rotating.start(canary_node_id=1001, at_once=1))
    assert "broker 1002 doesn't use the new files" in result.summary and "taken back, proven" in result.summary
    after = rotating.served()
    assert {node_id for node_id in NODES if after[node_id] != before[node_id]} == {1001}, "what is proven stays"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_each_act_of_each_phase_is_cut_off(rotating: Rotations, when: str) -> None:
    """A worker dies right before, or right after, the first of each kind of act and every seventh after it."""
    world, tls, seen = rotating.world, rotating.tls, list[str]()

    def cut(act: str) -> None:
        seen.append(act)
        if seen.count(act) % 7 == 1:
            raise Unreachable("cut off")

    if when == "before":
        world.before_act = cut
    else:
        world.after_act = cut
    handle = await rotating.start("change-authority")
    await approve_drop(handle)
    is_done(await handle.result())
    assert all(tls.trusts(node_id) == {"new"} for node_id in NODES) and tls.cut_off == []
    assert {"write_secret", "sync_files", "reload_stores", "delete_pod"} <= set(seen)


async def test_a_broker_that_is_down_in_phase_two_is_waited_for(rotating: Rotations) -> None:
    world, tls = rotating.world, rotating.tls
    fallen = list[int]()

    def fall(act: str) -> None:
        if act == "reload_stores" and not fallen and "new" in {tls.authority_of(broker) for broker in BROKERS}:
            fallen.append(1003)
            world.kill_broker(1003)

    world.after_act = fall
    handle = await rotating.start("change-authority", restarts="later", at_once=1, canary_node_id=1001)
    status = await until(
        handle, lambda status: status.waiting is not None and "1003 answers again" in status.waiting.unblocks, 60
    )
    assert status.waiting is not None and tls.cut_off == []
    world.revive_broker(1003)
    is_done(await handle.result())
    assert {tls.authority_of(broker) for broker in BROKERS} == {"new"} and tls.cut_off == []


async def test_a_terminated_run_is_gone_on_with(rotating: Rotations) -> None:
    """What the first run has renewed is told by the former key that is kept beside the new one."""
    world, tls = rotating.world, rotating.tls
    handle = await rotating.start(at_once=1, canary_node_id=1001)
    await until(handle, lambda status: 1003 in tls.reloads, 60)
    await handle.terminate()
    after_first = rotating.served()
    is_done(await (await rotating.start(at_once=5)).result())
    after = rotating.served()
    assert after[1001] == after_first[1001] and after[1002] == after_first[1002], "renewed once"
    assert len(rotating.issuers["old"].issued) == 6 and rotating.former() == [] and tls.cut_off == []
    assert world.pods["events-0"].uid in tls.files


async def test_abort_and_pause_take_effect_once_the_change_in_hand_is_proven(rotating: Rotations) -> None:
    tls, before = rotating.tls, rotating.served()
    tls.kubelet_steps = 30
    handle = await rotating.start(canary_node_id=1001)
    await until(handle, lambda status: status.step == "follow the files" and "broker 1001" in str(status.progress), 60)
    await handle.execute_update(RotateCertificates.pause, ME)
    status = await until(handle, lambda status: status.waiting is not None and "paused" in status.waiting.reason, 60)
    assert {node_id for node_id in NODES if rotating.served()[node_id] != before[node_id]} == {1001}
    await handle.execute_update(RotateCertificates.resume, ME)
    await until(handle, lambda status: status.step == "follow the files" and "broker 1002" in str(status.progress), 60)
    await handle.execute_update(RotateCertificates.abort, Abort(by="alice", reason="because"))
    result = await failure(handle)
    assert result.outcome is Outcome.ABORTED and "another run goes on" in result.summary
    assert {node_id for node_id in NODES if rotating.served()[node_id] != before[node_id]} == {*BROKERS}
    assert tls.cut_off == [] and status.is_paused


async def test_no_history_has_a_private_key(rotating: Rotations) -> None:
    """Of all that Temporal keeps of a run: inputs, results, heartbeats' last details, errors."""
    rotating.issuers["old"].faults["events-1"] = "key"
    handle = await rotating.start(canary_node_id=1002)
    await failure(handle)
    kept = (await handle.fetch_history()).to_json()
    payloads = [base64.b64decode(found).decode(errors="replace") for found in re.findall(r'"data": ?"([^"]+)"', kept)]
    assert len(payloads) > 20
    records = [
        part.decode(errors="replace") for _, parts in rotating.world.records.values() for part in map(unpacked, parts.values())
    ]
    keys = [line for data in rotating.tls.secrets.values() for value in data.values() for line in key_lines(value)]
    assert len(keys) > 10 and any("BEGIN CERTIFICATE" in record for record in records)
    for text in (kept, *payloads, *records):
        assert "PRIVATE KEY" not in text and not any(line in text for line in keys)


def unpacked(part: bytes) -> bytes:
    return gzip.decompress(part) if part[:2] == b"\x1f\x8b" else part


def key_lines(pem_file: bytes) -> list[str]:
    found = re.search(r"BEGIN PRIVATE KEY-----\n(.*?)-----END", pem_file.decode(), re.DOTALL)
    return found.group(1).split() if found else []


async def test_names_change_by_reload_where_the_file_allows_it_and_by_a_restart_elsewhere(rotating: Rotations) -> None:
    world, tls, order = rotating.world, rotating.tls, restarts(rotating.world)
    for pod in world.pods.values():
        if pod.broker_id != 1003:
            pod.file |= {"ssl.allow.dn.changes": "true", "ssl.allow.san.changes": "true"}
    result = await (await rotating.start("change-names", subject="CN={pod},O=renamed", names=["{pod}.example"])).result()
    is_done(result)
    assert set(order) == {1003, CONTROLLER} and tls.cut_off == []
    assert all(tls.certificate(node_id).subject.endswith("O=renamed") for node_id in NODES)
    assert tls.certificate(1003).names == ("events-2.example",)


async def test_every_reason_at_once(rotating: Rotations) -> None:
    """Where a broker that is down has its listeners is known from an earlier run."""
    world, tls = rotating.world, rotating.tls
    refused = await failure(await rotating.start("renew", issuer="new"))
    assert [reason.name for reason in refused.reasons] == ["other-authority"]
    tls.sub_path.add("events-0")
    tls.no_agent = {"events-1"}
    tls.records.clear()  # somebody has emptied the register
    tls.client_authentication["controller"] = "none"
    world.kill_broker(1003)
    rotating.issuers["new"].is_away = True
    refused = await failure(await rotating.start("change-authority"))
    names = {reason.name for reason in refused.reasons}
    assert names == {
        "sub-path:events-0",
        "no-record:events-1",
        "down:events-2",
        "trust-unseen:controller-0",
        "issuer-unreachable",
    }
    refused = await failure(await rotating.start(issuer="nobody"))
    assert [reason.name for reason in refused.reasons] == ["unknown-issuer"] and refused.reasons[0].is_bad_input
    tls.sub_path.clear()
    tls.no_agent.clear()
    tls.client_authentication.clear()
    world.revive_broker(1003)
    rotating.issuers["old"].days = 0.001
    short = await failure(await rotating.start())
    assert "before the rotation does" in short.summary
    nothing = await (await rotating.start(ending_within_days=5)).result()
    assert nothing.outcome is Outcome.NOTHING_TO_DO


async def test_expired_certificates_are_renewed_by_restarts_without_asking_kafka(rotating: Rotations) -> None:
    """Nobody can connect to brokers, so nobody tells which may be down: the controller first, then all brokers at once.

    Where the listeners are is known from an earlier plan.
    """
    world, tls, order = rotating.world, rotating.tls, restarts(rotating.world)
    world.now = datetime.now(UTC)
    handle = await rotating.start(wait_for_approval=True)
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None, 60)
    await handle.execute_update(RotateCertificates.reject, ME)
    await failure(handle)
    rotating.let_expire()
    refused = await failure(await rotating.start())
    assert {reason.name for reason in refused.reasons} == {f"expired:{pod.name}" for pod in tls.pods}
    handle = await rotating.start(break_glass=True, wait_for_approval=True)
    status = await until(handle, lambda status: status.phase == "gate" and status.plan is not None, 60)
    assert status.plan is not None and any(notice.startswith("BREAK GLASS") for notice in status.plan.notices)
    assert order == []
    await handle.execute_update(RotateCertificates.approve, YES)
    is_done(await handle.result())
    assert order[0] == CONTROLLER and set(order) == {*NODES}
    acts = [event.activity_task_scheduled_event_attributes.activity_type.name for event in (await handle.fetch_history()).events]
    assert acts.count("restart_expired") == 2, "the controller, and then all brokers: it lets none of them in"
    assert all(tls.certificate(node_id).not_after > datetime.now(UTC) for node_id in NODES)
    assert all(partition.in_sync == set(partition.replicas) for partition in world.partitions.values())
