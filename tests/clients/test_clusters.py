"""The clusters file: what it may say, which backend it selects, and errors that name the field."""

from pathlib import Path

import pytest

from kafka_runbooks.clients.certificates.cert_manager import CertManagerIssuer
from kafka_runbooks.clients.certificates.kubernetes import KubernetesIssuer
from kafka_runbooks.clients.certificates.private import PrivateIssuer
from kafka_runbooks.clients.certificates.step import StepIssuer
from kafka_runbooks.clients.clusters import ClustersFile, ConfiguredClusters, open_certificates, open_metrics, open_zookeeper
from kafka_runbooks.clients.errors import Refused, UnknownCluster
from kafka_runbooks.clients.kubernetes.connection import Connection
from kafka_runbooks.clients.metrics.datadog import DatadogMetrics
from kafka_runbooks.clients.metrics.exporter import ExporterMetrics
from kafka_runbooks.clients.metrics.file import FileMetrics
from kafka_runbooks.clients.metrics.prometheus import PrometheusMetrics
from kafka_runbooks.clients.metrics.settings import FileSource, PrometheusSource
from kafka_runbooks.clients.metrics.znodes import ZnodeMetrics
from kafka_runbooks.clients.zookeeper.client import ZooKeeperClient
from kafka_runbooks.clients.zookeeper.settings import split
from kafka_runbooks.models.certificates import ClientSecret
from kafka_runbooks.models.traffic import FIGURES

ROOT = Path(__file__).parents[2]
CLUSTER = "clusters:\n  main:\n    bootstrap_servers: kafka:9092\n    namespace: kafka\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "clusters.yaml"
    path.write_text(text)
    return path


def with_metrics(metrics: str) -> str:
    return f"{CLUSTER}    metrics: {metrics}\n"


def with_certificates(certificates: str) -> str:
    return f"{CLUSTER}    certificates: {certificates}\n"


def with_zookeeper(zookeeper: str) -> str:
    return f"{CLUSTER}    zookeeper: {zookeeper}\n"


@pytest.mark.parametrize(
    ("metrics", "backend"),
    [
        (None, ExporterMetrics),
        ("{source: exporter}", ExporterMetrics),
        ("{source: prometheus, url: 'http://prometheus:9090/prom', labels: {cluster: main}}", PrometheusMetrics),
        ("{source: datadog, scope: 'cluster:main', api_key_file: /keys/api, queries: {fetch_p99_ms: null}}", DatadogMetrics),
        ("{source: zookeeper, hosts: 'a:2181,b:2181/kafka'}", ZnodeMetrics),
        ("{source: file, path: /var/traffic.json, max_age_seconds: 30}", FileMetrics),
    ],
)
def test_the_source_selects_the_backend(metrics: str | None, backend: type, tmp_path: Path) -> None:
    path = written(tmp_path, CLUSTER if metrics is None else with_metrics(metrics))
    clusters = ConfiguredClusters.from_file(path)
    assert clusters.names() == ("main",)
    settings = clusters._settings["main"]
    assert type(open_metrics(settings)) is backend


def test_a_cluster_is_opened_once_and_an_unknown_one_names_those_that_are(tmp_path: Path) -> None:
    clusters = ConfiguredClusters.from_file(written(tmp_path, CLUSTER))
    with pytest.raises(UnknownCluster, match="'mian' is not configured; known are main"):
        clusters.open("mian")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the file: Input should be a valid dictionary"),
        ("clusters:\n  main:\n    namespace: kafka\n", "clusters.main.bootstrap_servers: Field required"),
        (CLUSTER + "    metric_port: 1\n", "clusters.main.metric_port: Extra inputs are not permitted"),
        (CLUSTER + "    metrics_port: 0\n", "clusters.main.metrics_port: Input should be greater than or equal to 1"),
        (with_metrics("{}"), "clusters.main.metrics: Unable to extract tag using discriminator 'source'"),
        (with_metrics("{source: grafana}"), "clusters.main.metrics: Input tag 'grafana' found using 'source' does not match"),
        (with_metrics("{source: prometheus}"), "clusters.main.metrics.prometheus.url: Field required"),
        (with_metrics("{source: prometheus, url: 'prometheus:9090'}"), "metrics.prometheus.url: URL scheme should be 'http'"),
        (with_metrics("{source: prometheus, url: 'http://a', broker_label: 'a-b'}"), "metrics.prometheus.broker_label: "),
        (
            with_metrics("{source: datadog, queries: {latency: x}}"),
            "metrics.datadog.queries.latency.[key]: Input should be 'in_bytes_per_s', ",
        ),
        (
            with_metrics("{source: datadog, queries: {" + ", ".join(f"{figure}: null" for figure in FIGURES) + "}}"),
            "metrics.datadog.queries: Value error, every figure is null",
        ),
        (
            with_metrics("{source: prometheus, url: 'http://a', queries: {produce_mean_ms: x}}"),
            "metrics.prometheus.queries: Value error, produce_mean_ms: only source: exporter has it",
        ),
        (with_metrics("{source: zookeeper, hosts: ''}"), "metrics.zookeeper.hosts: String should have at least 1"),
        (with_metrics("{source: file, path: a, max_age_seconds: 0}"), "metrics.file.max_age_seconds: Input should be greater"),
        (with_certificates("{issuers: {}}"), "certificates.issuer: Field required"),
        (with_certificates("{issuer: a, issuers: {}}"), "certificates.issuers: Dictionary should have at least 1 item"),
        (
            with_certificates("{issuer: c, issuers: {a: {kind: private, secret: s}, b: {kind: private, secret: s}}}"),
            "certificates: Value error, issuer: name one of issuers: a, b",
        ),
        (with_certificates("{issuer: a, issuers: {a: {kind: own}}}"), "certificates.issuers.a"),
        (with_certificates("{issuer: a, issuers: {a: {kind: private}}}"), "secret: Field required"),
        (with_certificates("{issuer: a, issuers: {a: {kind: private, secret: K_a}}}"), "secret: String should match pattern"),
        (with_certificates("{issuer: a, issuers: {a: {kind: private, secret: a, lifetime_days: 0}}}"), "lifetime_days: Input"),
        (
            with_certificates("{issuer: a, issuers: {a: {kind: kubernetes, signer: kafka, ca_file: /ca}}}"),
            "a.kubernetes.signer: ",
        ),
        (
            with_certificates("{issuer: a, issuers: {a: {kind: kubernetes, signer: example.com/a, ca_file: ca.pem}}}"),
            "a.kubernetes.ca_file: Value error, give an absolute path",
        ),
        (
            with_certificates("{issuer: a, issuers: {a: {kind: step, url: 'http://ca', ca_file: /ca, provisioner: p}}}"),
            "a.step.url: URL scheme should be 'https'; clusters.main.certificates.issuers.a.step.password_file: Field required",
        ),
        (
            with_certificates("{issuer: a, issuers: {a: {kind: step, password: p}}}"),
            "password: write it to a file and give that file's path as password_file",
        ),
        (with_zookeeper("{}"), "clusters.main.zookeeper.hosts: Field required"),
        (with_zookeeper("{hosts: 'a:b'}"), "zookeeper.hosts: Value error, give host:port,host:port, each member"),
        (with_zookeeper("{hosts: 'a:2181,,b:2181'}"), "zookeeper.hosts: Value error, give host:port,host:port"),
        (with_zookeeper("{hosts: 'me:secret@a:2181'}"), "zookeeper.hosts: Value error, give host:port,host:port"),
        (with_zookeeper("{hosts: 'a,a:2181'}"), "zookeeper.hosts: Value error, lists an address twice"),
        (
            with_zookeeper("{hosts: 'a:2181/'}"),
            "zookeeper.hosts: Value error, the chroot stands once, after the last host, and is a path",
        ),
        (
            with_zookeeper("{hosts: 'a/k,b/k'}"),
            "zookeeper.hosts: Value error, the chroot stands once, after the last host, and is a path",
        ),
        (with_zookeeper("{hosts: a, tls: {certificate_file: /c}}"), "zookeeper.tls: Value error, key_file: a client certificate"),
        (with_zookeeper("{hosts: a, tls: {ca_file: ca.pem}}"), "zookeeper.tls.ca_file: Value error, give an absolute path"),
        (with_zookeeper("{hosts: a, digest: {username: k, password: p}}"), "give that file's path as password_file"),
        (with_zookeeper("{hosts: a, sasl: {username: k}}"), "zookeeper.sasl.password_file: Field required"),
        (
            with_zookeeper("{hosts: a, digest: {username: k, password_file: /p}, sasl: {username: k, password_file: /p}}"),
            "zookeeper: Value error, digest, sasl: give one of them",
        ),
        ("clusters: {main\n  x: 1", "isn't YAML: "),
        ("clusters: \x00", "isn't YAML: "),
    ],
)
def test_a_wrong_field_is_named(text: str, why: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(Refused) as refused:
        ConfiguredClusters.from_file(path)
    assert str(refused.value).startswith(f"clusters file {path}: ") and why in str(refused.value)


def test_a_key_in_the_wrong_place_stays_out_of_the_message(tmp_path: Path) -> None:
    for text in (
        with_metrics("{source: datadog, api_key: SECRET, scope: [SECRET]}"),
        "clusters:\n  main: {api_key: SECRET\n  - SECRET: [",
        with_certificates("{issuer: a, issuers: {a: {kind: private, secret: '-----BEGIN SECRET', key: SECRET}}}"),
    ):
        with pytest.raises(Refused) as refused:
            ConfiguredClusters.from_file(written(tmp_path, text))
        assert "SECRET" not in str(refused.value) and "SECRET" not in str(refused.value.__cause__)


def test_no_file_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_RUNBOOKS_CLUSTERS_FILE", raising=False)
    with pytest.raises(Refused, match="set KAFKA_RUNBOOKS_CLUSTERS_FILE"):
        ConfiguredClusters.from_file()
    monkeypatch.setenv("KAFKA_RUNBOOKS_CLUSTERS_FILE", str(tmp_path / "none.yaml"))
    with pytest.raises(Refused, match=r"none.yaml: can't be read: .*No such file"):
        ConfiguredClusters.from_file()
    written(tmp_path, CLUSTER)
    monkeypatch.setenv("KAFKA_RUNBOOKS_CLUSTERS_FILE", str(tmp_path / "clusters.yaml"))
    assert ConfiguredClusters.from_file().names() == ("main",)


def test_a_cluster_s_issuers_are_opened_by_name(tmp_path: Path) -> None:
    issuers = (
        "{old: {kind: private, secret: kafka-ca}, new: {kind: kubernetes, signer: example.com/kafka, ca_file: /ca.pem}, "
        "other: {kind: step, url: 'https://ca', ca_file: /ca.pem, provisioner: kafka, password_file: /password}, "
        "fourth: {kind: cert-manager, issuer: kafka, ca_file: /ca.pem}}"
    )
    clusters = ConfiguredClusters.from_file(written(tmp_path, with_certificates(f"{{issuer: new, issuers: {issuers}}}")))
    opened = open_certificates(clusters._settings["main"], Connection())
    assert opened is not None and opened.issuer == "new"
    types = {name: type(one) for name, one in opened.issuers.items()}
    assert types == {"old": PrivateIssuer, "new": KubernetesIssuer, "other": StepIssuer, "fourth": CertManagerIssuer}


def test_the_deployed_clusters_file_is_right() -> None:
    assert ConfiguredClusters.from_file(ROOT / "deploy/kubernetes/base/config/clusters.yaml").names() == ("lab",)


def test_a_cluster_in_zookeeper_mode_has_an_ensemble(tmp_path: Path) -> None:
    hosts = "'zk-0.zk:2181, zk-1.zk,[::1]:2182/kafka/main'"
    settings = ConfiguredClusters.from_file(written(tmp_path, with_zookeeper(f"{{hosts: {hosts}}}")))._settings["main"]
    assert type(open_zookeeper(settings)) is ZooKeeperClient
    assert settings.zookeeper is not None
    assert split(settings.zookeeper.hosts) == (("zk-0.zk:2181", "zk-1.zk:2181", "[::1]:2182"), "/kafka/main")
    plain = ConfiguredClusters.from_file(written(tmp_path, CLUSTER))._settings["main"]
    assert open_zookeeper(plain) is None


def test_settings_survive_json() -> None:
    """They are shown to people; discriminator and paths come back."""
    source = PrometheusSource.model_validate({"source": "prometheus", "url": "https://p", "queries": {"fetch_p99_ms": None}})
    entry = {"bootstrap_servers": "a:1", "namespace": "k"}
    file = ClustersFile.model_validate(
        {"clusters": {"a": {**entry, "metrics": source}, "b": {**entry, "metrics": FileSource(source="file", path=Path("x"))}}}
    )
    again = ClustersFile.model_validate_json(file.model_dump_json())
    assert again == file


def test_our_own_secrets_have_keys_of_the_usual_names(tmp_path: Path) -> None:
    issuers, own = "{a: {kind: private, secret: ca}}", "{worker: {secret: ours}, agent: {secret: theirs, ca_key: trusted.pem}}"
    text = with_certificates(f"{{issuer: a, issuers: {issuers}, clients: {own}}}")
    opened = open_certificates(ConfiguredClusters.from_file(written(tmp_path, text))._settings["main"], Connection())
    assert opened is not None and opened.clients == (
        ClientSecret(name="worker", secret="ours", certificate_key="tls.crt", key_key="tls.key", ca_key="ca.crt"),
        ClientSecret(name="agent", secret="theirs", certificate_key="tls.crt", key_key="tls.key", ca_key="trusted.pem"),
    )
    with pytest.raises(Refused, match="somebody"):
        ConfiguredClusters.from_file(written(tmp_path, text.replace("agent:", "somebody:")))
