"""Kafka in ZooKeeper mode on a lab of its own: members of the ensemble that are lost, and runbooks, under checked traffic."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from kafka_runbooks_lab import connection
from kafka_runbooks_lab.errors import Unsupported
from kafka_runbooks_lab.lab import Lab
from kafka_runbooks_lab.workloads import Flavour

from tests.lab import runs
from tests.lab.chaos.faults import broker_pids
from tests.lab.conftest import KEEP, cannot, say
from tests.lab.host import Host
from tests.lab.runs import ask, checked_traffic, eventually, fresh, holds, intact, leftovers, place_of, watched
from tests.lab.test_agent import ask as ask_agent
from tests.lab.test_agent import python
from tests.lab.test_certificates import again, rotate, secret, served
from tests.lab.test_rolling_restart import BROKERS, changed, topic, uids, waits

__all__ = ["topic"]

pytestmark = pytest.mark.timeout(900)

MEMBERS = ("zookeeper-0", "zookeeper-1", "zookeeper-2")


@pytest.fixture(scope="module")
def lab(host_before: Host | None) -> Iterator[Lab]:
    """A lab of this flavour, and none afterwards; one that was up before the tests is never taken down."""
    lab = Lab(say)
    stays = lab.is_up() and lab.flavour() is Flavour.ZOOKEEPER
    if not stays:
        if lab.is_up() and (KEEP or host_before is None):
            pytest.skip("a lab of another flavour stays up")
        lab.down()
        try:
            lab.up(flavour=Flavour.ZOOKEEPER)
        except Unsupported as error:
            cannot(str(error))
    try:
        yield lab
    finally:
        if not stays and not KEEP:
            lab.down()


BY_TLS = """
import hashlib, json, socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
if sys.argv[3]: context.load_cert_chain(sys.argv[3])
def link():
    return context.wrap_socket(socket.create_connection((sys.argv[1], 2281), 2), server_hostname=sys.argv[1])
"""


def by_tls(lab: Lab, pod: str, code: str, *, certificate: bool = True) -> str:
    """What Python printed that has `link()` to a member."""
    own = str(connection.certificate_file(connection.ENSEMBLE)) if certificate else ""
    host = f"{pod}.zookeeper.kafka.svc.cluster.local"
    done = lab.exec([sys.executable, "-c", BY_TLS + code, host, str(connection.ENSEMBLE_CA_FILE), own], timeout=30)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def said(lab: Lab, pod: str) -> dict[str, str]:
    """A member's answer to `srvr`, line by line; nothing where it has none."""
    code = """
try:
    with link() as member:
        member.sendall(b"srvr")
        while part := member.recv(65536): sys.stdout.write(part.decode())
except OSError: pass
"""
    pairs = (line.partition(": ") for line in by_tls(lab, pod, code).splitlines())
    return {name: value for name, separator, value in pairs if separator}


def presented(lab: Lab) -> set[str]:
    """The SHA-256 of the certificates that members present."""
    code = "with link() as member: print(hashlib.sha256(member.getpeercert(binary_form=True)).hexdigest())"
    return {by_tls(lab, pod, code).strip() for pod in MEMBERS}


def modes(lab: Lab) -> dict[str, str | None]:
    return {pod: said(lab, pod).get("Mode") for pod in MEMBERS}


def leader(lab: Lab) -> str | None:
    return next((pod for pod, mode in modes(lab).items() if mode == "leader"), None)


def a_follower(lab: Lab) -> str:
    return next(pod for pod, mode in modes(lab).items() if mode == "follower")


def node_of(lab: Lab, pod: str) -> str:
    return lab.kubectl("-n", "kafka", "get", "pod", pod, "-o", "jsonpath={.spec.nodeName}")


def register(lab: Lab) -> dict[str, str]:
    """The annotations of the register of server IDs, without their domain."""
    found = json.loads(lab.kubectl("-n", "kafka", "get", "configmap", "zookeeper-ids-lab", "-o", "json"))
    annotations = found["metadata"].get("annotations", {})
    return {key.replace(".kafka-runbooks.io", ""): value for key, value in annotations.items() if "kafka-runbooks.io" in key}


IDS = {"server-id/zookeeper-0": "1", "server-id/zookeeper-1": "2", "server-id/zookeeper-2": "3"}


def whole(lab: Lab) -> bool:
    """One leads, the others follow."""
    return sorted(mode or "" for mode in modes(lab).values()) == ["follower", "follower", "leader"]


def is_ready(lab: Lab, pod: str) -> bool:
    jsonpath = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    return lab.kubectl("-n", "kafka", "get", "pod", pod, "--ignore-not-found", "-o", jsonpath) == "True"


def test_a_leader_that_loses_power_is_replaced_and_comes_back_as_itself(lab: Lab, topic: str) -> None:
    assert whole(lab) and register(lab) == IDS, "who has begun may not begin empty again"
    old = leader(lab)
    assert old is not None
    node = node_of(lab, old)
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        lab.kill_node(node)
        eventually("another leads", 60, lambda: leader(lab) not in (None, old))
        eventually("not ready", 60, lambda: not is_ready(lab, old))
        runs.create_topic(lab, f"{topic}.meanwhile", [[1001, 1002, 1003]])
        lab.start_node(node)
        eventually("whole", 90, lambda: whole(lab) and is_ready(lab, old))
    intact(traffic)
    assert register(lab) == IDS
    status, body = ask_agent(lab, old, "readyz")
    assert status == 200 and "it is follower" in body
    runs.delete_topics(lab, f"{topic}.meanwhile")


def test_members_take_nobody_without_a_certificate_and_what_brokers_made_nobody_else_changes(lab: Lab) -> None:
    code = """
plain = []
for port in (2181, 2281):
    try:
        with socket.create_connection((sys.argv[1], port), 2) as member:
            member.sendall(b"srvr")
            plain.append(member.recv(64).decode(errors="replace"))
    except OSError as error: plain.append(type(error).__name__)
try:
    with link() as member:
        member.sendall(b"srvr")
        print(json.dumps([plain, member.recv(64).decode()]))
except OSError as error: print(json.dumps([plain, "refused"]))
"""
    (closed, by_plain_text), without = json.loads(by_tls(lab, MEMBERS[0], code, certificate=False))
    assert closed == "ConnectionRefusedError" and "Zookeeper" not in by_plain_text and without in ("refused", "")
    acls = python(
        lab,
        f"""
from kazoo.client import KazooClient
own = {str(connection.certificate_file(connection.ENSEMBLE))!r}
hosts = "{MEMBERS[0]}.zookeeper.kafka.svc.cluster.local:2281"
client = KazooClient(hosts, use_ssl=True, ca={str(connection.ENSEMBLE_CA_FILE)!r}, certfile=own, keyfile=own)
client.start(20)
for path in ("/controller", "/brokers/ids/1001", "/brokers/topics", "/config/topics"):
    print(path, *sorted(f"{{one.id.scheme}}:{{one.id.id}}:{{one.perms}}" for one in client.get_acls(path)[0]))
client.stop()
""",
    )
    for line in acls.splitlines():
        assert line.split()[1:] == ["world:anyone:1", "x509:CN=kafka-broker:31"], acls


# tests/workflows/test_restart_ensemble.py; tests/clients/test_zookeeper_tls.py goes to TLS from plain text
@pytest.mark.soak
def test_members_renewed_certificates_come_into_force_by_a_roll(lab: Lab, topic: str) -> None:
    eventually("whole", 90, lambda: whole(lab))
    before, made, old = presented(lab), made_at(lab), secret(lab, "zookeeper-tls")
    ends = datetime.now(UTC) + timedelta(days=2)
    both = again(secret(lab, "zookeeper-ca"), old["tls.crt"], ends)
    start = both.index("-----BEGIN CERTIFICATE")
    renewed = {"tls-combined.pem": both, "tls.crt": both[start:], "tls.key": both[:start]}
    lab.kubectl("-n", "kafka", "patch", "secret", "zookeeper-tls", "-p", json.dumps({"stringData": renewed}))

    def told() -> bool:
        data = json.loads(lab.kubectl("-n", "kafka", "get", "configmap", "zookeeper-ids-lab", "-o", "json"))["data"]
        records = [json.loads(data[f"{pod}.tls"]) for pod in MEMBERS]
        return all(record["sha256"] != record["started_with"] for record in records)

    eventually("files have come, and agents tell it", 180, told)
    assert presented(lab) == before, "until it restarts"
    last, run = leader(lab), fresh()
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        runs.start(run, ask(reason="test", only_outdated=True), "RestartEnsemble")
        holds(runs.outcome(run, seconds=500))
    intact(traffic)
    after = made_at(lab)
    assert all(after[pod] > made[pod] for pod in MEMBERS) and max(after, key=lambda pod: after[pod]) == last, after
    assert len(presented(lab)) == 1 and not presented(lab) & before and whole(lab)
    second = fresh()
    runs.start(second, ask(reason="test", only_outdated=True), "RestartEnsemble")
    assert runs.outcome(second)["outcome"] == "nothing to do"


# test_certificates.py: test_every_certificate_is_renewed_...
@pytest.mark.soak
def test_brokers_certificates_are_renewed_and_nothing_restarts(lab: Lab, topic: str) -> None:
    listeners = dict.fromkeys(BROKERS, (9092, 9091))
    run, pods, before = fresh(), uids(lab), served(lab, listeners)
    with checked_traffic(lab, f"{topic}.traffic") as traffic, watched(lab) as seen:
        rotate(run, mode="renew")
        holds(runs.outcome(run, seconds=400))
    intact(traffic)
    after = served(lab, listeners)
    assert len(after) == 12 and not set(after.values()) & set(before.values()) and seen["below"] == []
    assert uids(lab) == pods and leftovers(lab) == {}


# test_upgrade.py
@pytest.mark.soak
def test_a_changed_template_is_rolled_out_behind_a_canary_and_there_is_nothing_to_finalise(lab: Lab, topic: str) -> None:
    change = {"spec": {"template": {"metadata": {"annotations": {"example.com/change": fresh()}}}}}
    lab.kubectl("-n", "kafka", "patch", "statefulset", "kafka-events", "-p", json.dumps(change))
    refused, run, before = fresh(), fresh(), uids(lab)
    runs.start(refused, ask(reason="test"), "Upgrade")
    assert [reason["name"] for reason in runs.outcome(refused)["reasons"]] == ["no-metadata-version"]
    canary = {"canary_node_id": 1002, "canary_soak_seconds": 40, "tolerated_slowdown": 100}
    with checked_traffic(lab, f"{topic}.traffic") as traffic, watched(lab) as seen:
        runs.start(run, ask(reason="test", finalise_features=False, **canary | {"wait_for_approval": True}), "Upgrade")
        waits(run, "the plan waits", 240)
        runs.update(run, "approve")
        waits(run, "is as good as its peers", 600)
        assert changed(lab, before) == {"kafka-events-1"}
        runs.update(run, "approve")
        holds(runs.outcome(run, seconds=600))
    intact(traffic)
    assert changed(lab, before) == {"kafka-events-0", "kafka-events-1", "kafka-events-2"} and seen["below"] == []
    assert leftovers(lab) == {}


# Above, with its disk; tests/agent/test_ensemble.py
@pytest.mark.soak
def test_a_member_whose_disk_is_lost_is_the_same_server_and_ready_only_once_it_has_copied(lab: Lab, topic: str) -> None:
    lost = a_follower(lab)
    node = node_of(lab, lost)
    zone = next(one.zone for one in lab.nodes() if one.name == node)
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        lab.delete_node(node)
        spare = lab.add_node(zone, "zookeeper")
        lab.kubectl("-n", "kafka", "delete", "pvc", f"data-{lost}", "--wait=false")
        lab.kubectl("-n", "kafka", "delete", "pod", lost, "--force", "--grace-period=0")
        eventually("ready", 120, lambda: is_ready(lab, lost))
        mine, others = said(lab, lost), said(lab, leader(lab) or "")
    intact(traffic)
    assert node_of(lab, lost) == spare and register(lab) == IDS
    assert mine["Node count"] == others["Node count"] and int(mine["Node count"]) > 100
    log = lab.kubectl("-n", "kafka", "logs", lost, "-c", "zookeeper")
    assert "setting zxid to -1" in log, "its empty database had no vote"
    lab.kubectl("delete", "pv", f"local-{node}", "--ignore-not-found")


# tests/agent/test_ensemble.py
@pytest.mark.soak
def test_an_empty_disk_elects_nobody_with_one_that_may_lag(lab: Lab, topic: str) -> None:
    """Two lose power, one of them its disk: this one and the third would be a quorum by number."""
    emptied, up, third = MEMBERS
    for pod in (emptied, third):
        lab.kill_node(node_of(lab, pod))
    try:
        eventually("nobody leads", 60, lambda: leader(lab) is None)
        lab.wipe_disk(node_of(lab, emptied))
        lab.start_node(node_of(lab, emptied))
        eventually("answers", 60, lambda: ask_agent(lab, emptied, "livez")[0] == 200)
        ends = time.monotonic() + 25
        while time.monotonic() < ends:
            assert leader(lab) is None and not is_ready(lab, emptied)
            time.sleep(1)
        status, body = ask_agent(lab, up, "readyz")
        assert status == 503 and "doesn't serve" in body
    finally:
        lab.start_node(node_of(lab, third))
    eventually("whole", 90, lambda: whole(lab) and all(is_ready(lab, pod) for pod in MEMBERS))
    assert leader(lab) != emptied and register(lab) == IDS
    lab.wait_ready()


def made_at(lab: Lab) -> dict[str, str]:
    """When each member's pod was made."""
    pods = json.loads(lab.kubectl("-n", "kafka", "get", "pods", "-l", "app.kubernetes.io/component=zookeeper", "-o", "json"))
    return {pod["metadata"]["name"]: pod["metadata"]["creationTimestamp"] for pod in pods["items"]}


# tests/workflows/test_restart_ensemble.py
@pytest.mark.soak
def test_members_restart_one_by_one_the_leader_last_with_the_worker_killed_at_each_boundary(lab: Lab, topic: str) -> None:
    eventually("whole", 90, lambda: whole(lab))
    last, before, run = leader(lab), made_at(lab), fresh()
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        runs.start(run, ask(reason="test"), "RestartEnsemble")
        boundaries = runs.kill_after_every_step(lab, run, seconds=800)
        holds(runs.outcome(run))
    intact(traffic)
    after = made_at(lab)
    assert all(after[pod] > before[pod] for pod in MEMBERS) and max(after, key=lambda pod: after[pod]) == last, after
    assert len(boundaries) >= 8, boundaries
    assert whole(lab) and leftovers(lab) == {}


# tests/workflows/test_restart_ensemble.py
@pytest.mark.soak
def test_a_second_member_that_is_lost_stops_the_ensemble_s_roll_until_it_is_back(lab: Lab, topic: str) -> None:
    """Two of three are down: the one that restarts, and one that loses power meanwhile."""
    eventually("whole", 90, lambda: whole(lab))
    before, run = made_at(lab), fresh()
    runs.start(run, ask(reason="test"), "RestartEnsemble")
    eventually("the first goes", 90, lambda: made_at(lab) != before)
    (going,) = (pod for pod in MEMBERS if made_at(lab).get(pod) != before[pod])
    second = next(pod for pod in MEMBERS if pod != going)
    node = node_of(lab, second)
    lab.kill_node(node)
    try:
        status = runs.until_status(run, lambda status: status["waiting"] and second in json.dumps(status["waiting"]), 120)
        assert status["waiting"]["unblocks"], status
        time.sleep(15)
        assert {pod for pod, made in made_at(lab).items() if made != before[pod]} == {going}
    finally:
        lab.start_node(node)
    holds(runs.outcome(run, seconds=500))
    assert whole(lab)


# test_rolling_restart.py: test_everything_restarts_...
@pytest.mark.soak
def test_brokers_restart_one_zone_after_the_other_and_no_partition_refuses_a_write(lab: Lab, topic: str) -> None:
    before, run = uids(lab), fresh()
    with checked_traffic(lab, f"{topic}.traffic") as traffic, watched(lab) as seen:
        runs.start(run, ask(reason="test"), "RollingRestart")
        result = runs.outcome(run, seconds=800)
        holds(result)
    intact(traffic)
    assert changed(lab, before) == set(BROKERS)
    assert seen["below"] == [] and seen["samples"] > 100, seen
    assert leftovers(lab) == {}


# test_replace_broker.py: test_a_lost_node_s_broker_comes_back_...
@pytest.mark.soak
def test_a_lost_broker_comes_back_while_the_ensemble_s_leader_is_lost_too(lab: Lab, topic: str) -> None:
    _, node, zone = place_of(lab, 1001)
    spare = lab.add_node(zone, "events")
    runs.fill(lab, topic, 4_000)
    old = leader(lab)
    assert old is not None
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        lab.kill_node(node)
        run = fresh()
        slow = {"mode": "fixed", "rate_bytes_per_s": 1_000_000}
        runs.start(run, ask(broker_id=1001, throttle=slow))
        runs.until_status(run, lambda status: status["step"] == "follow the catch-up", 240)
        lab.kill_node(node_of(lab, old))
        eventually("another leads", 60, lambda: leader(lab) not in (None, old))
        lab.start_node(node_of(lab, old))
        result = runs.outcome(run, seconds=500)
    holds(result)
    assert place_of(lab, 1001)[1:] == (spare, zone)
    intact(traffic)
    lab.delete_node(node)
    assert leftovers(lab) == {}
    eventually("whole", 90, lambda: whole(lab))


@pytest.mark.soak  # tests/safety/test_freshness.py
def test_a_quorum_that_is_lost_stops_a_roll_until_it_is_back(lab: Lab, topic: str) -> None:
    before, run = uids(lab), fresh()
    gone = [node_of(lab, pod) for pod in MEMBERS[:2]]
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        runs.start(run, ask(reason="test", limits={"at_once": 1}), "RollingRestart")
        runs.until_status(run, lambda status: status["step"] == "follow the restart")
        for node in gone:
            lab.kill_node(node)
        try:
            status = waits(run, "ZooKeeper", 120)
            assert status["waiting"]["unblocks"], status
            down = changed(lab, before)
            time.sleep(20)
            assert changed(lab, before) == down, "no further broker restarts meanwhile"
        finally:
            for node in gone:
                lab.start_node(node)
        holds(runs.outcome(run, seconds=800))
    assert traffic["lost"] == 0
    assert changed(lab, before) == set(BROKERS)
    assert leftovers(lab) == {}


@pytest.mark.soak  # tests/agent/test_readiness.py
def test_a_broker_whose_session_expires_while_it_lives_is_not_ready_until_it_is_in_sync_again(lab: Lab, topic: str) -> None:
    pid = broker_pids()["kafka-events-0"]
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        os.kill(pid, signal.SIGSTOP)
        try:
            eventually("said by its agent", 60, lambda: "1001 is not registered" in ask_agent(lab, "kafka-events-0", "readyz")[1])
        finally:
            os.kill(pid, signal.SIGCONT)
        eventually("in sync", 90, lambda: ask_agent(lab, "kafka-events-0", "readyz")[0] == 200)
    intact(traffic)
    assert broker_pids()["kafka-events-0"] == pid
