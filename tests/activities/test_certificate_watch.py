"""A look at certificates' ends: what is found, also where nobody answers, and what Prometheus is told."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from activities import certificate_metrics
from activities.certificate_metrics import CertificateEnds
from activities.certificate_watch import _Look
from kafka_runbooks.clients.certificates import pem
from kafka_runbooks.clients.clusters import CertificateClients, ClusterClients
from kafka_runbooks.clients.security.settings import Security
from kafka_runbooks.clients.zookeeper.settings import ZookeeperSettings
from kafka_runbooks.models.certificate_ends import CertificateEnd
from kafka_runbooks.models.certificates import ClientSecret
from tests.fakes.certificates import FakeHandshakes, FakeSecrets, Tls
from tests.fakes.ensemble import WorldEnsemble
from tests.fakes.kafka import FakeKafka
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.world import World


class Site:
    """Three brokers and a controller with certificates of 30 days."""

    def __init__(self, folder: Path, *, in_zookeeper_mode: bool = False) -> None:
        self.world = World(maps=("events",), controllers=1, advance_at_look=False)
        self.tls = self.world.tls = Tls(self.world, folder)
        security = Security(
            protocol="SSL",
            ca_file=folder / "ca.crt",
            certificate_file=folder / "tls.crt",
            key_file=folder / "tls.key",
        )
        # The same file, by another name.
        (folder / "zookeeper.crt").symlink_to(folder / "tls.crt")
        tls = {"certificate_file": folder / "zookeeper.crt", "key_file": folder / "tls.key"}
        zookeeper = ZookeeperSettings.model_validate({"hosts": "none:2281", "tls": tls}) if in_zookeeper_mode else None
        self.clients = cast(
            ClusterClients,
            SimpleNamespace(
                kafka=FakeKafka(self.world),
                kubernetes=FakeKubernetes(self.world),
                settings=SimpleNamespace(security=security, zookeeper=zookeeper),
            ),
        )
        agent = ClientSecret(name="agent", secret="agent-tls")
        self.certificates = CertificateClients(FakeSecrets(self.tls), {}, "old", FakeHandshakes(self.tls), (agent,))

    def look(self) -> tuple[dict[str, list[CertificateEnd]], list[str]]:
        look = _Look(self.clients, self.certificates)
        found: dict[str, list[CertificateEnd]] = {}
        for one in look.ends():
            found.setdefault(one.holder, []).append(one)
        return found, look.unseen


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_nodes_and_our_own_clients_are_seen(site: Site) -> None:
    found, unseen = site.look()
    assert found.keys() == {"broker 1001", "broker 1002", "broker 1003", "controller 1", "worker", "agent"} and unseen == []
    (one,) = found["broker 1001"]
    assert one.where == "listener INTERNAL" and one.subject == site.tls.certificate(1001).subject
    assert one.not_after == site.tls.certificate(1001).not_after
    assert found["agent"][0].where == "Secret agent-tls"


def test_members_of_an_ensemble_are_told_by_what_their_agents_recorded(tmp_path: Path) -> None:
    """One was started with what its file had before."""
    site = Site(tmp_path, in_zookeeper_mode=True)
    site.world.ensemble = WorldEnsemble(site.world)
    now = site.world.now
    before, after = (now - timedelta(days=29), now + timedelta(days=1)), (now, now + timedelta(days=30))
    site.world.ensemble.lasts = {"first": before, "renewed": after}
    site.world.ensemble.certificate = "renewed"
    for one, certificate in zip(site.world.ensemble.members.values(), ("renewed", "first", None), strict=True):
        one.certificate = certificate
    found, unseen = site.look()
    assert unseen == [] and "member zookeeper-2" not in found
    assert [Path(one.where.split()[1]).name for one in found["worker"]] == ["tls.crt", "zookeeper.crt"]
    assert [(one.where, one.not_after) for one in found["member zookeeper-0"]] == [("its file", after[1])]
    in_file, started = found["member zookeeper-1"]
    assert (in_file.where, started.where, started.not_after) == ("its file", "started with", before[1])
    assert started.needs_restart and started.rotated_as is None and in_file.rotated_as is None


def test_a_node_that_is_down_is_named_and_hides_no_other(site: Site) -> None:
    site.world.killed.add(1002)
    found, unseen = site.look()
    assert [one.where for one in found["broker 1002"]] == ["its file"], "as its agent told"
    assert len(found) == 6
    assert unseen == ["node 1002: doesn't answer where it listens"]


def test_expired_certificates_are_seen_though_kafka_refuses_our_questions(site: Site) -> None:
    """By what their agents have recorded; the fake's controllers have none."""
    for pod in site.tls.pods:
        leaf = site.tls.old.issue(f"CN={pod.name},O=kafka", [f"{pod.name}.kafka"], days=-1)
        site.tls.secrets[site.tls.secret_of(pod)][f"{pod.name}.pem"] = pem.keystore(leaf)
        site.tls.replace(pod)
    site.world.is_kafka_away = True
    found, unseen = site.look()
    assert all(found[f"broker {node_id}"][0].not_after < datetime.now(UTC) for node_id in (1001, 1002, 1003))
    assert unseen == ["listeners: Kafka doesn't answer"] and "controller 1" not in found


def test_a_secret_that_is_gone_is_named(site: Site) -> None:
    del site.tls.secrets["agent-tls"]
    found, unseen = site.look()
    assert "agent" not in found and unseen == ["agent: Secret agent-tls has no tls.crt"]


def end(holder: str, days: float) -> CertificateEnd:
    now = datetime.now(UTC)
    return CertificateEnd(
        holder=holder, where="listener CLIENTS", subject="CN=a", not_before=now, not_after=now + timedelta(days=days)
    )


def exported(ends: CertificateEnds) -> dict[tuple[str, str], float]:
    registry = CollectorRegistry()
    registry.register(ends)
    (family,) = text_string_to_metric_families(generate_latest(registry).decode())
    assert family.name == "kafka_runbooks_certificate_days_left"
    return {(one.labels["cluster"], one.labels["holder"]): one.value for one in family.samples}


def test_prometheus_gets_the_days_left_of_what_was_seen_last(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = CertificateEnds()
    ends.tell("main", [end("broker 1001", 30), end("broker 1002", -2)])
    ends.tell("other", [end("broker 1", 5)])
    ends.tell("main", [end("broker 1001", 90)])
    found = exported(ends)
    assert found.keys() == {("main", "broker 1001"), ("other", "broker 1")}, "what is gone raises no alarm"
    assert found["main", "broker 1001"] == pytest.approx(90, abs=0.01)
    later = time.monotonic() + certificate_metrics.FORGOTTEN_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert exported(ends) == {}, "another worker has made the newer looks"


def test_an_expired_one_has_less_than_no_days() -> None:
    ends: Any = CertificateEnds()
    ends.tell("main", [end("broker 1001", -2)])
    assert exported(ends)["main", "broker 1001"] == pytest.approx(-2, abs=0.01)
