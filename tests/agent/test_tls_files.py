"""What the agent publishes of TLS files: which certificates are in them and whether the key fits, nothing of the key."""

from pathlib import Path

import pytest

from kafka_runbooks.agent.settings import AgentSettings
from kafka_runbooks.agent.tls_files import TlsFilesWatch, is_usable
from kafka_runbooks.clients.certificates import pem
from kafka_runbooks.clients.kubernetes import register
from kafka_runbooks.models.certificates import TlsFiles
from tests.agent.fake_register import FakeRegister
from tests.clients.security.certificates import Authority, Leaf, written

POD = "kafka-events-0"
AUTHORITY = Authority("CA")
BEFORE, AFTER = AUTHORITY.leaf(POD), AUTHORITY.leaf(POD)


class Pod(FakeRegister):
    """Files of a pod as the kubelet and the start script have them, and the register."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.data[POD] = "1001"
        self.keystore = written(folder / f"{POD}.pem", BEFORE.both)
        self.truststore = written(folder / f"{POD}.ca.pem", AUTHORITY.pem)
        self.started = folder / "started-tls"
        own = {"certificate": written(folder / "tls.crt", AFTER.certificate), "ca": folder / "missing"}
        self.watch = TlsFilesWatch(self, "main", POD, files=(self.keystore, self.truststore), started=self.started, own=own)

    @property
    def record(self) -> TlsFiles:
        return register.tls_files(self.data)[POD]


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


def digest(text: str) -> str:
    return pem.digest(text.encode())


def test_what_is_in_the_files_is_published_once_and_again_when_it_changes(pod: Pod) -> None:
    pod.watch.poll()
    pod.watch.poll()
    before = pod.record
    assert pod.writes == 1 and before.pod_uid == "uid-1"
    assert before.sha256 == {str(pod.keystore): digest(BEFORE.certificate), str(pod.truststore): digest(AUTHORITY.pem)}
    assert before.unusable == () and before.own_sha256 == {"certificate": digest(AFTER.certificate)}
    written(pod.keystore, AFTER.both)
    pod.watch.poll()
    assert pod.record.sha256[str(pod.keystore)] == digest(AFTER.certificate) and pod.writes == 2
    assert pod.record.changed_at[str(pod.keystore)] > before.changed_at[str(pod.keystore)]
    assert pod.record.changed_at[str(pod.truststore)] == before.changed_at[str(pod.truststore)]


def test_nothing_depends_on_a_key(pod: Pod) -> None:
    pod.watch.poll()
    before = pod.record
    written(pod.keystore, BEFORE.certificate + AUTHORITY.leaf(POD).key)
    pod.watch.poll()
    assert pod.record.sha256 == before.sha256
    assert pod.record.unusable == (str(pod.keystore),), "the key isn't the certificate's"
    assert "PRIVATE" not in str(pod.data) and BEFORE.key.splitlines()[1] not in str(pod.data)


def test_what_the_process_was_started_with_is_told_as_the_start_script_kept_it(pod: Pod) -> None:
    pod.watch.poll()
    assert pod.record.started_with == {} and pod.record.started_at is None, "an older start script"
    assert pod.record.started_lasts is None
    pod.started.mkdir()
    kept = written(pod.started / pod.keystore.name, BEFORE.certificate)
    written(pod.started / pod.truststore.name, AUTHORITY.pem)
    written(pod.keystore, AFTER.both)
    pod.watch.poll()
    assert pod.record.started_with == {str(pod.keystore): digest(BEFORE.both), str(pod.truststore): digest(AUTHORITY.pem)}
    assert pod.record.started_at is not None and pod.record.started_at.timestamp() >= kept.stat().st_mtime
    assert pod.record.started_with[str(pod.keystore)] != pod.record.sha256[str(pod.keystore)]
    (leaf,) = pem.certificates(BEFORE.certificate.encode())
    assert pod.record.started_lasts == (leaf.not_before, leaf.not_after), "the truststore's don't count"
    (leaf,) = pem.certificates(AFTER.certificate.encode())
    assert pod.record.lasts == (leaf.not_before, leaf.not_after)


def test_a_file_that_is_missing_or_no_pem_is_unusable_and_ends_no_watch(pod: Pod) -> None:
    pod.keystore.unlink()
    written(pod.truststore, "garbage")
    pod.watch.poll()
    assert pod.record.unusable == (str(pod.keystore), str(pod.truststore)) and str(pod.keystore) not in pod.record.sha256


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        (BEFORE.both, True),
        (AUTHORITY.pem + BEFORE.certificate, True),
        (BEFORE.certificate + BEFORE.key[:90], True),
        (BEFORE.key, False),
        (Leaf(BEFORE.certificate, AFTER.key).both, False),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", False),
        (AUTHORITY.leaf(POD, password="p").both, True),
    ],
)
def test_usable(text: str, usable: bool) -> None:
    assert is_usable(text.encode()) is usable


def test_other_entries_of_the_register_are_read_as_before(pod: Pod) -> None:
    pod.watch.poll()
    assert register.broker_ids(pod.data) == {POD: 1001} and register.file_changes(pod.data) == {}


def test_the_setting_is_a_list_of_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POD_NAME", "POD_NAMESPACE", "NODE_NAME", "CLUSTER"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("FIRST_BROKER_ID", "1001")
    assert AgentSettings().tls_files == ()
    monkeypatch.setenv("TLS_FILES", "/etc/kafka-tls/a.pem,/etc/kafka-tls/a.ca.pem")
    assert AgentSettings().tls_files == (Path("/etc/kafka-tls/a.pem"), Path("/etc/kafka-tls/a.ca.pem"))
