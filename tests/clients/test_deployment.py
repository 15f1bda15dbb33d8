"""What is deployed, as kustomize makes it: every overlay builds, names what exists, and gives nobody more than he needs."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from javaproperties import loads
from kubernetes.client import ApiClient

from kafka_runbooks.agent import member_readiness
from kafka_runbooks.agent.settings import MemberSettings
from kafka_runbooks.clients.clusters import ConfiguredClusters
from kafka_runbooks.clients.kubernetes import objects
from kafka_runbooks.models import labels
from kafka_runbooks.page.settings import PageSettings
from kafka_runbooks.safety import conventions
from kafka_runbooks.safety.conventions import Objects
from kafka_runbooks.temporal import TemporalSettings
from worker.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = (
    *("base", "cronjob", "page", "network", "monitoring", "example", "example/worker-of-checks"),
    *("kafka", "zookeeper", "kafka-zookeeper"),
)
OURS = "kafka-runbooks"


def kubectl() -> Path:
    """The machine's, else the lab's, which is built."""
    if found := shutil.which("kubectl"):
        return Path(found)
    from kafka_runbooks_lab import builds

    return builds.ensure(print).kubernetes / "kubectl"


@cache
def made(overlay: str) -> tuple[dict[str, Any], ...]:
    return built(KUBERNETES / overlay)


def built(folder: Path) -> tuple[dict[str, Any], ...]:
    command = [str(kubectl()), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, *kinds: str) -> list[dict[str, Any]]:
    return [one for one in made(overlay) if one["kind"] in kinds]


def pods(overlay: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in of_kind(overlay, "Deployment"):
        yield one["metadata"]["name"], one["spec"]["template"]
    for one in of_kind(overlay, "CronJob"):
        yield one["metadata"]["name"], one["spec"]["jobTemplate"]["spec"]["template"]


@pytest.mark.server
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_builds_without_two_of_a_name(overlay: str) -> None:
    names = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in made(overlay)]
    assert names and len(names) == len(set(names))


@pytest.mark.server
@pytest.mark.parametrize("overlay", ["cronjob", "example", "example/worker-of-checks"])
def test_pods_may_do_no_more_than_they_need(overlay: str) -> None:
    found = dict(pods(overlay))
    assert found
    for name, template in found.items():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 10001, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"]:
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"] and not rights["allowPrivilegeEscalation"], name
            assert rights["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            assert mounts == {volume["name"] for volume in spec["volumes"]}, name
            assert not any("subPath" in mount for mount in container["volumeMounts"]), "the kubelet doesn't update those"
            assert not any("secretKeyRef" in str(one) for one in container["env"]), "secrets are files"


@pytest.mark.server
def test_the_cronjob_starts_what_the_schedule_starts() -> None:
    """Its command is one that `kafka-runbooks` takes, with the input of the schedule in deploy/schedules.yaml."""
    ((_, template),) = pods("cronjob")
    (container,) = template["spec"]["containers"]
    name, *arguments = container["command"]
    assert name == OURS and template["spec"]["automountServiceAccountToken"] is False
    schedules = yaml.safe_load((ROOT / "deploy" / "schedules.yaml").read_text())["schedules"]
    done = subprocess.run(
        [name, *arguments, "-o", "json"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TEMPORAL_ADDRESS": "127.0.0.1:1"},
    )
    assert done.returncode == 1 and "127.0.0.1:1" in done.stderr, "its input is fine, and Temporal can't be reached"
    options = dict(one.removeprefix("--").split("=") for one in arguments if "=" in one)
    wanted = schedules["lab/topics"]["input"] | {"requester": "cronjob", "when_busy": "skip"}
    assert {key.replace("-", "_"): value for key, value in options.items()} == wanted


@pytest.mark.server
def test_the_page_has_no_rights_in_kubernetes() -> None:
    (template,) = (template for name, template in pods("example") if name == f"{OURS}-page")
    assert template["spec"]["automountServiceAccountToken"] is False
    subjects = [subject["name"] for one in of_kind("example", "RoleBinding", "ClusterRoleBinding") for subject in one["subjects"]]
    assert set(subjects) == {f"{OURS}-worker"}


@pytest.mark.server
def test_policies_and_monitors_select_pods_and_ports_that_exist() -> None:
    templates = dict(pods("example"))
    labels = {name: template["metadata"]["labels"] for name, template in templates.items()}
    ports = {
        name: {port["name"] for container in template["spec"]["containers"] for port in container["ports"]}
        for name, template in templates.items()
    }

    def selected(selector: dict[str, str]) -> list[str]:
        return [name for name, found in labels.items() if selector.items() <= found.items()]

    for policy in of_kind("example", "NetworkPolicy"):
        chosen = selected(policy["spec"]["podSelector"].get("matchLabels", {}))
        assert chosen, policy["metadata"]["name"]
        assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"] and {port["port"] for port in rule["ports"]} <= ports[chosen[0]]
    (page,) = (one for one in of_kind("example", "NetworkPolicy") if one["metadata"]["name"] == f"{OURS}-page")
    out = {port["port"] for rule in page["spec"]["egress"] for port in rule["ports"]}
    assert out == {53, 7233}, "the page talks to Temporal only"
    for monitor in of_kind("example", "PodMonitor"):
        (chosen_one,) = selected(monitor["spec"]["selector"]["matchLabels"])
        assert {end["port"] for end in monitor["spec"]["podMetricsEndpoints"]} <= ports[chosen_one]
    for service in of_kind("example", "Service"):
        (chosen_one,) = selected(service["spec"]["selector"])
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports[chosen_one]


@pytest.mark.server
@pytest.mark.parametrize(
    ("overlay", "cluster", "queue"),
    [("example", "prod", "kafka-runbooks"), ("example/worker-of-checks", "checks", "kafka-runbooks-checks")],
)
def test_a_worker_s_settings_are_those_that_it_reads(
    overlay: str, cluster: str, queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (template,) = (template for name, template in pods(overlay) if "worker" in name)
    (container,) = template["spec"]["containers"]
    known = {f"KAFKA_RUNBOOKS_{name.upper()}" for name in WorkerSettings.model_fields} | {"KAFKA_RUNBOOKS_CLUSTERS_FILE"}
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert {name for name in environment if not name.startswith("TEMPORAL_")} <= known
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert TemporalSettings().task_queue == queue
    (volume,) = (one for one in template["spec"]["volumes"] if one["name"] == "clusters")
    (config,) = (one for one in of_kind(overlay, "ConfigMap") if one["metadata"]["name"] == volume["configMap"]["name"])
    (tmp_path / "clusters.yaml").write_text(config["data"]["clusters.yaml"])
    assert ConfiguredClusters.from_file(tmp_path / "clusters.yaml").names() == (cluster,)


@pytest.mark.server
def test_the_page_s_settings_are_those_that_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    (template,) = (template for name, template in pods("example") if name == f"{OURS}-page")
    (container,) = template["spec"]["containers"]
    known = {f"KAFKA_RUNBOOKS_{name.upper()}" for name in PageSettings.model_fields}
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert {name for name in environment if not name.startswith("TEMPORAL_")} <= known
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    port = PageSettings().page_port
    assert [port] == [one["containerPort"] for one in container["ports"]]


@pytest.mark.server
def test_a_member_may_do_no_more_than_it_needs() -> None:
    (found,) = of_kind("zookeeper", "StatefulSet")
    spec = found["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*spec["initContainers"], *spec["containers"]):
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] and not rights["allowPrivilegeEscalation"], container["name"]
        assert rights["capabilities"] == {"drop": ["ALL"]} and "memory" in container["resources"]["limits"], container["name"]


@pytest.mark.server
def test_members_are_never_two_in_a_zone_nor_two_down_by_an_eviction_nor_restarted_by_kubernetes() -> None:
    (found,) = of_kind("zookeeper", "StatefulSet")
    template, pods = found["spec"]["template"], found["spec"]["template"]["metadata"]["labels"]
    assert found["spec"]["updateStrategy"] == {"type": "OnDelete"} and found["spec"]["podManagementPolicy"] == "Parallel"
    (apart,) = template["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (budget,) = of_kind("zookeeper", "PodDisruptionBudget")
    (service,) = of_kind("zookeeper", "Service")
    (policy,) = of_kind("zookeeper", "NetworkPolicy")
    selectors = (apart["labelSelector"], budget["spec"]["selector"], policy["spec"]["podSelector"], found["spec"]["selector"])
    assert all(one["matchLabels"] == pods for one in selectors) and service["spec"]["selector"] == pods
    assert apart["topologyKey"] == labels.ZONE and budget["spec"]["maxUnavailable"] == 1
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"]
    assert [one["metadata"]["name"] for one in found["spec"]["volumeClaimTemplates"]] == ["data"]


@pytest.mark.server
@pytest.mark.parametrize(("overlay", "scripts"), [("kafka", 2), ("zookeeper", 1), ("kafka-zookeeper", 3)])
def test_addresses_of_restarted_nodes_are_forgotten_sooner_than_runbooks_count_on(overlay: str, scripts: int) -> None:
    """Java keeps them for 30 s unless the file says otherwise that every start script names."""
    (entry,) = yaml.safe_load((KUBERNETES / "base/config/clusters.yaml").read_text())["clusters"].values()
    files = [one.get("data", {}) for one in of_kind(overlay, "ConfigMap")]
    started = [(data["java.security"], data[name]) for data in files for name in data if name.startswith("start")]
    assert len(started) == scripts
    for security, script in started:
        assert 'options="-Djava.security.properties=$here/java.security ' in script
        kept = dict(line.split("=") for line in security.splitlines() if not line.startswith("#"))
        # CoreDNS gives out records of pods for 5 s.
        assert int(kept["networkaddress.cache.ttl"]) + 5 < entry["address_cache_seconds"]
        assert int(kept["networkaddress.cache.negative.ttl"]) == 1


@pytest.mark.server
def test_a_member_is_started_by_what_it_is_asked_by_and_knows_how_many_there_are() -> None:
    (found,) = of_kind("zookeeper", "StatefulSet")
    spec = found["spec"]["template"]["spec"]
    (identify,), (zookeeper, _) = spec["initContainers"], spec["containers"]
    sizes = [one["value"] for one in identify["env"] if one["name"] == "ENSEMBLE_SIZE"]
    assert sizes == [str(found["spec"]["replicas"])]
    assert f"{zookeeper['readinessProbe']['httpGet']['port']}{zookeeper['readinessProbe']['httpGet']['path']}" == labels.READINESS
    (config,) = (one["data"] for one in of_kind("zookeeper", "ConfigMap") if one["metadata"]["name"] == "zookeeper-config")
    properties = loads(config["zoo.cfg"])
    assert MemberSettings.model_fields["data_folder"].default == Path(properties["dataDir"])
    assert set(properties["4lw.commands.whitelist"].split(",")) >= set(member_readiness.WORDS)
    assert properties["secureClientPort"] == str(member_readiness.SECURE_PORT)
    mounted = {one["mountPath"] for one in zookeeper["volumeMounts"]}
    files = [Path(value) for key, value in properties.items() if key.endswith("Store.location")]
    assert len(files) == 4 and {one.parent for one in files} == {MemberSettings.model_fields["tls_folder"].default}
    assert {str(one.parent) for one in files} <= mounted
    assert str(MemberSettings.model_fields["started_tls_files"].default) in config["start.sh"]
    assert str(MemberSettings.model_fields["servers_file"].default) in config["start.sh"]


@pytest.mark.server
def test_zookeeper_mode_is_the_example_without_controllers_and_with_an_ensemble_that_brokers_reach() -> None:
    def names(overlay: str) -> set[tuple[str, str]]:
        return {(one["kind"], one["metadata"]["name"]) for one in made(overlay)}

    gone = names("kafka") - names("kafka-zookeeper")
    assert {name for _, name in gone} == {"kafka-controller"} and ("StatefulSet", "kafka-controller") in gone
    assert names("kafka-zookeeper") - names("kafka") == names("zookeeper")
    (config,) = (one["data"] for one in of_kind("kafka-zookeeper", "ConfigMap") if one["metadata"]["name"] == "kafka-config")
    broker = loads(config["security.properties"] + config["broker.properties"])
    assert not {"process.roles", "controller.quorum.voters"} & broker.keys()
    assert broker["authorizer.class.name"] == "kafka.security.authorizer.AclAuthorizer"
    assert broker["broker.id.generation.enable"] == "false", "else Kafka refuses the example's IDs, which are above 1000"
    assert broker["zookeeper.ssl.client.enable"] == broker["zookeeper.set.acl"] == "true"
    for one in of_kind("kafka-zookeeper", "StatefulSet"):
        for container in one["spec"]["template"]["spec"]["containers"]:
            if container["name"] == labels.KAFKA_CONTAINER:
                mounted = {one["mountPath"] for one in container["volumeMounts"]}
                stores = (broker["zookeeper.ssl.keystore.location"], broker["zookeeper.ssl.truststore.location"])
                assert {str(Path(one).parent) for one in stores} <= mounted
    (ensemble,) = (one for one in of_kind("kafka-zookeeper", "StatefulSet") if one["metadata"]["name"] == "zookeeper")
    host = "{}.zookeeper.kafka.svc.cluster.local:2281"
    addresses = [host.format(f"zookeeper-{ordinal}") for ordinal in range(ensemble["spec"]["replicas"])]
    assert broker["zookeeper.connect"].split(",") == addresses
    images = {
        container["image"]
        for one in of_kind("kafka-zookeeper", "StatefulSet")
        for container in one["spec"]["template"]["spec"]["containers"]
        if container["name"] in ("kafka", "zookeeper")
    }
    assert images == {"apache/kafka:3.9.2"}


@pytest.mark.server
@pytest.mark.parametrize(
    ("component", "quorum_tls", "ports"),
    [
        (None, "required", {"client": 2281}),
        ("accept-tls", "accepted", {"client": 2281, "plain": 2181}),
        ("speak-tls", "spoken", {"client": 2281, "plain": 2181}),
    ],
)
def test_each_step_to_tls_is_a_template_of_its_own_and_the_last_has_no_plain_port(
    tmp_path: Path, component: str | None, quorum_tls: str, ports: dict[str, int]
) -> None:
    made_of = {"resources": ["zookeeper"], "components": [f"zookeeper/from-plain/{component}"] if component else []}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(made_of))
    shutil.copytree(KUBERNETES / "zookeeper", tmp_path / "zookeeper")
    documents = built(tmp_path)
    (found,) = (one for one in documents if one["kind"] == "StatefulSet")
    container = next(one for one in found["spec"]["template"]["spec"]["containers"] if one["name"] == labels.ZOOKEEPER)
    assert {one["name"]: one.get("value") for one in container["env"]}[labels.QUORUM_TLS] == quorum_tls
    quorum = {"quorum": 2888, "election": 3888}
    assert {one["name"]: one["containerPort"] for one in container["ports"]} == ports | quorum
    (policy,) = (one for one in documents if one["kind"] == "NetworkPolicy")
    assert {one["port"] for one in policy["spec"]["ingress"][0]["ports"]} == set(ports)
    (config,) = (one["data"] for one in documents if one["kind"] == "ConfigMap" and one["metadata"]["name"] == "zookeeper-config")
    assert f"{quorum_tls})" in config["start.sh"]


MIGRATION = {
    1: ("1-controllers",),
    2: ("1-controllers", "2-brokers"),
    3: ("1-controllers", "3-kraft"),
    4: ("1-controllers", "3-kraft", "4-end"),
}


@cache
def of_leg(leg: int) -> tuple[dict[str, Any], ...]:
    """What is applied for a leg of the way to KRaft, as the components' comments say."""
    with TemporaryDirectory() as folder:
        root = os.path.relpath(KUBERNETES, Path(folder).resolve())
        mode = f"{root}/kafka-zookeeper"
        kustomization = {
            "sortOptions": {"order": "legacy"},
            "resources": [f"{root}/kafka", f"{root}/zookeeper"],
            "components": [f"{mode}/brokers", *(f"{mode}/migration/{one}" for one in MIGRATION[leg])],
        }
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        done = subprocess.run([str(kubectl()), "kustomize", folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def files_of(leg: int) -> tuple[dict[str, str], dict[str, str]]:
    """A broker's and a controller's properties."""
    (config,) = (one["data"] for one in of_leg(leg) if one["metadata"]["name"] == "kafka-config")
    return tuple(loads(config["security.properties"] + config[f"{role}.properties"]) for role in ("broker", "controller"))  # type: ignore[return-value]


def changes(before: dict[str, str], after: dict[str, str]) -> tuple[set[str], set[str]]:
    """Keys that are gone, and keys that are new or have another value."""
    return before.keys() - after.keys(), {key for key, value in after.items() if before.get(key) != value}


@pytest.mark.server
def test_each_leg_of_a_migration_changes_what_kafka_documents_and_nothing_else() -> None:
    migrates, protocol = "zookeeper.metadata.migration.enable", "inter.broker.protocol.version"
    quorum = {"controller.quorum.voters", "controller.listener.names"}
    (zookeeper_mode,) = (
        one["data"] for one in of_kind("kafka-zookeeper", "ConfigMap") if one["metadata"]["name"] == "kafka-config"
    )
    plain = loads(zookeeper_mode["security.properties"] + zookeeper_mode["broker.properties"])
    brokers, controllers = zip(*(files_of(leg) for leg in MIGRATION), strict=True)
    assert changes(plain, brokers[0]) == (set(), set())
    assert changes(brokers[0], brokers[1]) == (set(), {migrates, protocol, *quorum}) and brokers[1][protocol] == "3.9"
    of_zookeeper = {key for key in plain if key.startswith("zookeeper.")}
    gone = {migrates, *of_zookeeper, protocol, "broker.id.generation.enable"}
    assert changes(brokers[1], brokers[2]) == (gone, {"process.roles", "authorizer.class.name"})
    assert changes(brokers[2], brokers[3]) == (set(), set())
    assert controllers[0] == controllers[1] == controllers[2]
    assert {key: controllers[0][key] for key in of_zookeeper} == {key: plain[key] for key in of_zookeeper}
    assert controllers[0][migrates] == "true"
    assert changes(controllers[2], controllers[3]) == ({migrates, *of_zookeeper, "inter.broker.listener.name"}, set())
    (kraft,) = (one["data"] for one in of_kind("kafka", "ConfigMap") if one["metadata"]["name"] == "kafka-config")
    assert brokers[3] == loads(kraft["security.properties"] + kraft["broker.properties"])


@pytest.mark.server
def test_what_a_leg_changes_is_seen_by_the_pods_templates_where_no_agent_tells_it() -> None:
    def template(leg: int, name: str) -> dict[str, Any]:
        (found,) = (one for one in of_leg(leg) if one["kind"] == "StatefulSet" and one["metadata"]["name"] == name)
        return dict(found["spec"]["template"])

    assert template(1, "kafka-controller") == template(3, "kafka-controller") != template(4, "kafka-controller")
    assert len({json.dumps(template(leg, "kafka-events")) for leg in MIGRATION}) == 1, "brokers' agents tell by their files"
    (policy,) = (one for one in of_leg(1) if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "zookeeper")
    assert "controller" in json.dumps(policy["spec"]["ingress"][0]) and "controller" not in json.dumps(
        policy["spec"]["ingress"][1]
    )


DOCKERFILES = sorted((ROOT / "deploy" / "images").glob("*.Dockerfile"))


def steps(dockerfile: Path) -> list[list[tuple[str, str]]]:
    """Instructions and their arguments, by stage."""
    text = dockerfile.read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    stages: list[list[tuple[str, str]]] = [[]]
    for instruction, arguments in lines:
        if instruction == "FROM":
            stages.append([])
        stages[-1].append((instruction, arguments))
    return stages[1:]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_images_copy_what_exists_and_run_as_nobody(dockerfile: Path) -> None:
    build, final = steps(dockerfile)
    copied = [arguments.split() for instruction, arguments in build if instruction == "COPY"]
    assert all((ROOT / source).exists() for *sources, _ in copied for source in sources)
    assert "tests" not in {source for *sources, _ in copied for source in sources}
    assert [instruction for instruction, _ in final if instruction == "RUN"] == [], "what is built is copied"
    assert ("USER", "10001:10001") in final
    assert final.index(("USER", "10001:10001")) > max(n for n, (instruction, _) in enumerate(final) if instruction == "COPY")
    assert any(instruction == "RUN" and "uv sync --locked --no-dev" in arguments for instruction, arguments in build)


@pytest.mark.server
def test_images_listen_where_the_manifests_ask_and_start_what_they_start() -> None:
    for name, stem in ((f"{OURS}-worker", "worker"), (f"{OURS}-page", "page")):
        (template,) = (template for found, template in pods("example") if found == name)
        (container,) = template["spec"]["containers"]
        assert container["image"].partition(":")[0].endswith(f"kafka-runbooks-{stem}")
        _, final = steps(ROOT / "deploy" / "images" / f"{stem}.Dockerfile")
        exposed = {int(port) for instruction, ports in final if instruction == "EXPOSE" for port in ports.split()}
        assert exposed == {port["containerPort"] for port in container["ports"]}
        (command,) = (yaml.safe_load(arguments) for instruction, arguments in final if instruction == "CMD")
        assert command == container["command"]


@pytest.mark.server
def test_the_example_s_stateful_sets_keep_the_conventions() -> None:
    """Read from the manifests as from the API, through the real library."""
    for one in of_kind("kafka", "StatefulSet"):
        one["metadata"]["resourceVersion"] = "1"
    with ApiClient() as api:
        found = [
            objects.stateful_set(api._ApiClient__deserialize(one, "V1StatefulSet")) for one in of_kind("kafka", "StatefulSet")
        ]
    assert sorted((one.name, one.has_brokers, one.readiness) for one in found) == [
        ("kafka-checks", True, labels.READINESS),
        ("kafka-controller", False, None),
        ("kafka-events", True, labels.READINESS),
    ]
    assert all(one.marks_pods for one in found)
    none_run = tuple(one.model_copy(update={"replicas": 0}) for one in found)
    checks = conventions.check(Objects("lab", "kafka", none_run, brokers=(), controllers=(), nodes=(), budgets=()))
    assert [check.fault for check in checks if check.fault] == []
