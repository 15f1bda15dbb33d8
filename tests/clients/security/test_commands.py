"""`place --kafka-config` and the agent's `KAFKA_CONFIG`: the same settings, and exit codes that tell whose fault it is."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from kafka_runbooks.agent import main as agent
from kafka_runbooks.cli import place
from tests.clients.security.certificates import Authority, written
from tests.clients.security.secure_kafka import PLAIN_PASSWORD, PLAIN_USER, SecureKafka

# kafka-python leaves sockets to brokers that went away for the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def settings(kafka: SecureKafka, folder: Path, **more: Any) -> dict[str, Any]:
    password = written(folder / "password", PLAIN_PASSWORD)
    sasl = {"mechanism": "PLAIN", "username": PLAIN_USER, "password_file": str(password)}
    return {"protocol": "SASL_SSL", "ca_file": str(kafka.ca_file), "sasl": sasl, **more}


def run(kafka: SecureKafka, folder: Path, found: dict[str, Any]) -> tuple[int, str]:
    file = written(folder / "kafka.yaml", yaml.safe_dump(found))
    servers = kafka.bootstrap_of("SASLTLS")
    arguments = ["rebalance", "--bootstrap", servers, "--kafka-config", str(file), "-o", "json"]
    result = CliRunner().invoke(place.app, arguments)
    return result.exit_code, result.output


def test_place_plans_on_a_cluster_with_tls_and_sasl(kafka: SecureKafka, tmp_path: Path) -> None:
    kafka.allow_everything(f"User:{PLAIN_USER}")
    code, output = run(kafka, tmp_path, settings(kafka, tmp_path))
    assert code == 0, output


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({"protocol": "SSL"}, 2, "kafka.yaml: the file: Value error, sasl: protocol SSL has none"),
        ({"ca_file": "ca.pem"}, 2, "ca_file: Value error, give an absolute path"),
        ({"ca_file": "/nowhere/ca.pem"}, 2, "ca_file /nowhere/ca.pem: can't be read: No such file or directory"),
        ({"ca_file": "OTHER"}, 1, "the cluster can't be read: 127.0.0.1:"),
    ],
    ids=str,
)
def test_place_ends_in_one_line(kafka: SecureKafka, tmp_path: Path, wrong: dict[str, str], code: int, words: str) -> None:
    other = written(tmp_path / "other.pem", Authority("other").pem)
    wrong = {field: value.replace("OTHER", str(other)) for field, value in wrong.items()}
    found, output = run(kafka, tmp_path, settings(kafka, tmp_path, **wrong))
    assert (found, words in output, len(output.splitlines())) == (code, True, 1), output


def test_a_configuration_without_a_cluster_is_bad_input() -> None:
    result = CliRunner().invoke(place.app, ["rebalance", "--snapshot", "-", "--kafka-config", "kafka.yaml"])
    assert result.exit_code == 2 and "--kafka-config: only with --bootstrap SERVERS" in result.output


def test_the_agent_ends_with_2_and_names_the_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "kafka.yaml", "protocol: SASL_SSL\n")
    values = {"POD_NAME": "a", "POD_NAMESPACE": "b", "NODE_NAME": "c", "CLUSTER": "d", "FIRST_BROKER_ID": "1"}
    for name, value in {**values, "KAFKA_CONFIG": str(file)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["kafka-runbooks-agent", "serve"])
    with pytest.raises(SystemExit) as ended:
        agent.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"KAFKA_CONFIG: Kafka configuration {file}: the file: Value error, sasl: required")
