"""The deployed start scripts give agent and runbooks what they count on: run by a shell, with a `java` that does nothing."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from javaproperties import loads

from tests.clients.security.certificates import Authority

KAFKA = Path(__file__).parents[2] / "deploy" / "kubernetes" / "kafka"


def run(script: str, folder: Path, **environment: str) -> dict[str, str]:
    """Run a script with its absolute paths under a folder; returns the properties that Kafka is started with."""
    text = re.sub(r"(?<![\w}])/(etc|identity|tmp|data|opt)/", rf"{folder}/\1/", (KAFKA / "config" / script).read_text())
    for path in ("etc/kafka-config", "identity", "tmp"):
        (folder / path).mkdir(parents=True, exist_ok=True)
    java = folder / "java"
    java.write_text(f'#!/bin/sh\necho "$@" >> {folder}/java.log\n')
    java.chmod(0o755)
    for source in (KAFKA / "config", Path(environment.pop("CONFIG", KAFKA / "config"))):
        for file in source.iterdir():
            (folder / "etc/kafka-config" / file.name).write_bytes(file.read_bytes())
    environment |= {"PATH": f"{folder}:{os.environ['PATH']}", "KAFKA_HEAP_OPTS": ""}
    subprocess.run(["bash", "-c", text], env=environment, check=True)
    return loads((folder / "tmp/server.properties").read_text())


def container(manifest: str, kind: str, name: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((KAFKA / manifest).read_text())
    (found,) = (one for one in documents if one["kind"] == kind)
    (container,) = (one for one in found["spec"]["template"]["spec"]["containers"] if one["name"] == name)
    return dict(container)


@pytest.mark.parametrize("has_override", [False, True])
def test_what_a_broker_is_started_with_is_kept_as_the_agent_finds_it_mounted(tmp_path: Path, has_override: bool) -> None:
    (tmp_path / "etc/kafka-config").mkdir(parents=True)
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity/broker.properties").write_text("node.id=1001\nbroker.rack=zone-a\n")
    if has_override:
        (tmp_path / "etc/kafka-config/override.properties").write_text("min.insync.replicas=1\n")
    started = run("start-broker.sh", tmp_path, POD_NAME="kafka-events-0", POD_NAMESPACE="kafka")
    kept = loads((tmp_path / "identity/started.properties").read_text())
    agent = container("broker/broker.yaml", "StatefulSet", "agent")
    (files,) = (one["value"].split(",") for one in agent["env"] if one["name"] == "PROPERTIES_FILES")
    mounted = [tmp_path / file[1:] for file in files]
    assert kept == loads("\n".join(file.read_text() for file in mounted if file.exists()))
    assert kept.items() <= started.items() and started["node.id"] == "1001"
    assert kept["min.insync.replicas"] == ("1" if has_override else "2")
    assert started["ssl.keystore.location"] == f"{tmp_path}/etc/kafka-tls/kafka-events-0.pem"
    name = "kafka-events-0.kafka-events.kafka.svc.cluster.local"
    assert started["advertised.listeners"] == f"CLIENTS://{name}:9092,REPLICATION://{name}:9091"
    assert {file.rpartition("/")[0] for file in files} <= {mount["mountPath"] for mount in agent["volumeMounts"]}


def test_in_zookeeper_mode_the_broker_formats_its_disk_itself_and_logs_as_the_manifest_says(tmp_path: Path) -> None:
    def commands(folder: Path, **environment: str) -> list[str]:
        (folder / "identity").mkdir(parents=True)
        (folder / "identity/broker.properties").write_text("node.id=1001\n")
        run("start-broker.sh", folder, POD_NAME="kafka-events-0", POD_NAMESPACE="kafka", **environment)
        return (folder / "java.log").read_text().splitlines()

    format_, start = commands(tmp_path / "kraft")
    assert "StorageTool format" in format_ and "-Dlog4j2.configurationFile=" in start
    mode = KAFKA.parent / "kafka-zookeeper" / "brokers"
    (only,) = commands(tmp_path / "zookeeper", CONFIG=str(mode), KAFKA_LOG4J_OPTS="-Dlog4j.configuration=file:x")
    assert "kafka.Kafka" in only and "-Dlog4j.configuration=file:x" in only and "log4j2" not in only


def test_a_controller_of_a_migration_logs_as_kafka_3_does_and_has_an_exporter(tmp_path: Path) -> None:
    leg = KAFKA.parent / "kafka-zookeeper" / "migration" / "1-controllers"
    more = {"KAFKA_LOG4J_OPTS": "-Dlog4j.configuration=file:x", "KAFKA_OPTS": "-javaagent:y"}
    started = run(
        "start-controller.sh", tmp_path, POD_NAME="kafka-controller-1", FIRST_CONTROLLER_ID="1", CONFIG=str(leg), **more
    )
    assert started["zookeeper.metadata.migration.enable"] == "true" and started["node.id"] == "2"
    format_, start = (tmp_path / "java.log").read_text().splitlines()
    assert "StorageTool format" in format_ and "-javaagent" not in format_
    assert "-javaagent:y" in start and "-Dlog4j.configuration=file:x" in start and "log4j2" not in start


def test_the_certificates_that_a_broker_is_started_with_are_kept_without_the_key(tmp_path: Path) -> None:
    leaf = Authority("CA").leaf("kafka-events-0")
    (tmp_path / "etc/kafka-tls").mkdir(parents=True)
    (tmp_path / "etc/kafka-tls/kafka-events-0.pem").write_text(leaf.both)
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity/broker.properties").write_text("node.id=1001\n")
    run("start-broker.sh", tmp_path, POD_NAME="kafka-events-0", POD_NAMESPACE="kafka")
    assert {file.name: file.read_text() for file in (tmp_path / "identity/started-tls").iterdir()} == {
        "kafka-events-0.pem": leaf.certificate
    }
    agent = container("broker/broker.yaml", "StatefulSet", "agent")
    (files,) = (one["value"].split(",") for one in agent["env"] if one["name"] == "TLS_FILES")
    assert files == ["/etc/kafka-tls/$(POD_NAME).pem", "/etc/kafka-tls/$(POD_NAME).ca.pem"]
    assert {"mountPath": "/etc/kafka-tls", "name": "tls", "readOnly": True} in agent["volumeMounts"]


def test_so_are_a_controller_s(tmp_path: Path) -> None:
    leaf = Authority("CA").leaf("kafka-controller-2")
    (tmp_path / "etc/kafka-tls").mkdir(parents=True)
    (tmp_path / "etc/kafka-tls/kafka-controller-2.pem").write_text(leaf.both)
    run("start-controller.sh", tmp_path, POD_NAME="kafka-controller-2", FIRST_CONTROLLER_ID="101")
    assert (tmp_path / "identity/started-tls/kafka-controller-2.pem").read_text() == leaf.certificate
    agent = container("controllers.yaml", "StatefulSet", "agent")
    assert agent["command"] == ["kafka-runbooks-agent", "record"]
    assert {"mountPath": "/etc/kafka-tls", "name": "tls", "readOnly": True} in agent["volumeMounts"]


def test_a_controller_s_id_is_the_first_one_plus_its_ordinal(tmp_path: Path) -> None:
    started = run("start-controller.sh", tmp_path, POD_NAME="kafka-controller-2", FIRST_CONTROLLER_ID="101")
    assert started["node.id"] == "103" and started["process.roles"] == "controller"
    assert started["ssl.truststore.location"] == f"{tmp_path}/etc/kafka-tls/kafka-controller-2.ca.pem"
    environment = {one["name"]: one for one in container("controllers.yaml", "StatefulSet", "kafka")["env"]}
    source = environment["FIRST_CONTROLLER_ID"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert source == "metadata.annotations['kafka-runbooks.io/first-controller-id']"
