"""Parts of the lab that need no lab: both kinds of cgroups, the image, and what it says to a host that can't carry it."""

import json
import ssl
import tarfile
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from kafka_runbooks_lab import (
    acls,
    connection,
    credentials,
    images,
    kafka_tools,
    network,
    nodes,
    packages,
    paths,
    preflight,
    workloads,
)
from kafka_runbooks_lab.builds import Built
from kafka_runbooks_lab.cgroups import NAME, Cgroups
from kafka_runbooks_lab.errors import BadInput, LabError, Unsupported


def mounts(folder: Path, *rows: str) -> Path:
    file = folder / "mounts"
    file.write_text("".join(f"x {row} rw 0 0\n" for row in rows))
    return file


def test_cgroup_v2_delegates_down_to_the_node_but_not_to_its_leaf(tmp_path: Path) -> None:
    """On a made-up tree of files: a node's kubelet needs controllers below the node, and the daemons sit in a leaf."""

    class Tree(type(tmp_path)):  # type: ignore[misc]
        """Folders that get a kernel's files when they are made."""

        def mkdir(self, *args: object, **kwargs: object) -> None:
            super().mkdir(*args, **kwargs)
            for file, text in {"cgroup.controllers": "cpuset cpu memory pids rdma", "cgroup.subtree_control": ""}.items():
                if not (self / file).exists():
                    (self / file).write_text(text)

    root = Tree(tmp_path / "cgroup")
    root.mkdir()
    (root / "cgroup.subtree_control").write_text("cpu memory")
    cgroups = Cgroups(v1=(), v2=root)
    assert cgroups.open_root() == ["cpuset", "pids"]
    cgroups.make("events-a", inner=True)
    cgroups.make("events-a/system")
    wanted = "+cpuset +cpu +memory +pids"
    assert (root / NAME / "cgroup.subtree_control").read_text() == wanted
    assert (root / NAME / "events-a/cgroup.subtree_control").read_text() == wanted
    assert (root / NAME / "events-a/system/cgroup.subtree_control").read_text() == ""
    assert cgroups.enter("events-a/system") == f"echo 0 > {root}/{NAME}/events-a/system/cgroup.procs"


def test_cgroup_v1_gives_each_new_folder_processors_and_memory(tmp_path: Path) -> None:
    for name in ("cpuset", "memory"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpuset/cpuset.cpus").write_text("0-1\n")
    found = Cgroups.of_host(mounts(tmp_path, f"{tmp_path}/cpuset cgroup", f"{tmp_path}/memory cgroup", "/u cgroup2"))
    assert found.v2 is None, "a v2 tree beside v1 ones has no controllers"
    found.make("events-a/system")
    assert (tmp_path / "memory" / NAME / "events-a/system").is_dir()
    found.remove("events-a")
    assert not (tmp_path / "memory" / NAME / "events-a").exists()
    assert (tmp_path / "memory" / NAME).exists()


def test_the_image_is_one_layer_with_a_pause_process(tmp_path: Path) -> None:
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"static")
    images.write(tmp_path / "image.tar", busybox)
    with tarfile.open(tmp_path / "image.tar") as tar:
        (manifest,) = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
        config = json.loads(tar.extractfile("config.json").read())  # type: ignore[union-attr]
    assert manifest["RepoTags"] == [images.NAME]
    assert config["config"]["Entrypoint"][0] == "/bin.pause/busybox"


def test_not_root_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Unsupported, match="root"):
        preflight.before_installing(())


def test_not_linux_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(Unsupported, match="needs Linux"):
        preflight.before_installing(())


def test_every_missing_feature_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(preflight, "_fails", lambda command: "refused")
    monkeypatch.setattr(packages, "missing", lambda: ["etcd-server"])
    monkeypatch.setattr("shutil.which", lambda command: None)
    with pytest.raises(Unsupported) as caught:
        preflight.before_installing(())
    for feature in ("mount namespaces", "network namespaces", "pid namespaces", "overlayfs", "etcd-server"):
        assert feature in str(caught.value)


@pytest.mark.parametrize("flavour", list(workloads.Flavour))
def test_each_word_of_the_overlay_is_filled_in(monkeypatch: pytest.MonkeyPatch, flavour: workloads.Flavour) -> None:
    monkeypatch.setattr(packages, "java_home", lambda: Path("/usr/lib/jvm/java"))
    built = Built(Path("/k"), Path("/c"), Path("/j"))
    folders = {workloads.OVERLAY, flavour.overlay}
    text = "\n".join(file.read_text() for folder in folders for file in folder.glob("*.yaml"))
    filled = workloads.fill_in(text.replace("Words between @", ""), built)
    assert str(paths.VENV) in filled and network.DNS in filled
    with pytest.raises(LabError, match="@NOBODY@"):
        workloads.fill_in("path: '@NOBODY@'", built)


def test_names_and_numbers_are_never_given_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(paths, "NODES", tmp_path)
    first, second = nodes.fresh("events", "zone-a"), nodes.fresh("checks", "zone-a")
    nodes.Node(**{**vars(first), "deleted": True}).save()
    third = nodes.fresh("events", "zone-a")
    assert [first.name, second.name, third.name] == ["events-a", "checks-a", "events-b"]
    assert [first.number, second.number, third.number] == [1, 2, 3]
    with pytest.raises(BadInput, match="checks-a, events-b"):
        nodes.find("events-a")


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The state's folder of clients' files."""
    monkeypatch.setattr(packages, "java_home", lambda: Path("/java"))
    monkeypatch.setattr(connection, "FOLDER", tmp_path / "kafka")
    monkeypatch.setattr(connection, "CA_FILE", tmp_path / "kafka" / "ca.pem")
    monkeypatch.setattr(connection, "ENSEMBLE_CA_FILE", tmp_path / "kafka" / "zookeeper-ca.pem")
    return tmp_path / "kafka"


def test_an_unknown_kafka_tool_is_bad_input(folder: Path) -> None:
    with pytest.raises(BadInput, match="there are: acls, cluster, configs"):
        kafka_tools.argv("topic", [])
    argv = kafka_tools.argv("kafka-topics.sh", ["--list"])
    assert argv[-3:] == ["--bootstrap-server", connection.BOOTSTRAP, "--list"]


def names_of(certificate: bytes) -> tuple[str, list[str]]:
    """Common name and DNS names."""
    found = x509.load_pem_x509_certificate(certificate)
    alternative = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.subject.rfc4514_string(), alternative.get_values_for_type(x509.DNSName)


def test_every_pod_has_its_own_files_and_every_client_its_certificate(folder: Path) -> None:
    secrets = {secret["metadata"]["name"]: secret["stringData"] for secret in credentials.make(plaintext=False)}
    brokers = secrets["kafka-events-tls"]
    assert {"kafka-events-0.pem", "kafka-events-0.ca.pem", "kafka-events-5.pem"} <= brokers.keys()
    own = "kafka-events-2.kafka-events.kafka.svc.cluster.local"
    expected = ("CN=kafka-broker", [own, "kafka-bootstrap.kafka.svc.cluster.local"])
    assert names_of(brokers["kafka-events-2.pem"].encode()) == expected
    assert brokers["kafka-events-0.pem"] != brokers["kafka-events-1.pem"]
    assert brokers["kafka-events-0.pem"].startswith("-----BEGIN PRIVATE KEY-----")
    for name in ("kafka-agent-tls", "kafka-runbooks-tls", "kafka-ca"):
        assert secrets[name].keys() == {"ca.crt", "tls.crt", "tls.key"}
    context = ssl.create_default_context(cafile=connection.kafka_python()["ssl_cafile"])
    for who in (connection.ADMIN, connection.TRAFFIC):
        context.load_cert_chain(connection.librdkafka(who)["ssl.certificate.location"])
    assert folder.stat().st_mode & 0o077 == 0
    assert str(connection.java_file()) in kafka_tools.argv("topics", ["--list"])


def test_an_ensemble_has_an_authority_of_its_own_and_its_certificate_the_name_of_each_member(folder: Path) -> None:
    others = credentials.make(plaintext=False)
    secrets = {secret["metadata"]["name"]: secret["stringData"] for secret in credentials.of_ensemble()}
    members = secrets["zookeeper-tls"]
    subject, names = names_of(members["tls.crt"].encode())
    assert subject == "CN=zookeeper" and names == [f"zookeeper-{n}.zookeeper.kafka.svc.cluster.local" for n in range(3)]
    assert members["tls-combined.pem"] == members["tls.key"] + members["tls.crt"]
    assert "PRIVATE KEY" in secrets["kafka-zookeeper-tls"]["tls-combined.pem"]
    assert members["ca.crt"] not in {value for secret in others for value in secret["stringData"].values()}
    context = ssl.create_default_context(cafile=connection.ENSEMBLE_CA_FILE)
    context.load_cert_chain(connection.certificate_file(connection.ENSEMBLE))


def test_without_tls_clients_have_none(folder: Path) -> None:
    credentials.make(plaintext=True)
    assert connection.librdkafka() == {"bootstrap.servers": connection.BOOTSTRAP}
    assert "--command-config" not in kafka_tools.argv("topics", ["--list"])


def test_worker_and_agent_get_what_the_script_says_and_no_more() -> None:
    found = {(acl.principal, acl.restype.name, acl.name, acl.operation.name) for acl in acls.of_script()}
    assert found == {
        ("User:kafka-runbooks", "BROKER", "kafka-cluster", "ALTER"),
        ("User:kafka-runbooks", "BROKER", "kafka-cluster", "ALTER_CONFIGS"),
        ("User:kafka-runbooks", "TOPIC", "*", "DESCRIBE"),
        ("User:kafka-runbooks", "TOPIC", "*", "ALTER_CONFIGS"),
        *(("User:kafka-runbooks", "TOPIC", "*", operation) for operation in ("CREATE", "ALTER", "DELETE")),  # MAKES_TOPICS
        ("User:kafka-agent", "BROKER", "kafka-cluster", "DESCRIBE_CONFIGS"),
        ("User:kafka-agent", "TOPIC", "*", "DESCRIBE"),
    }


def test_secrets_are_applied_before_the_pods_that_want_them() -> None:
    text = workloads.joined("a: 1\nkind: Namespace\n\n---\nkind: StatefulSet\n", [{"kind": "Secret"}], [{"kind": "Volume"}])
    kinds = [yaml.safe_load(document)["kind"] for document in text.split("\n---\n")]
    assert kinds == ["Namespace", "Secret", "StatefulSet", "Volume"]
