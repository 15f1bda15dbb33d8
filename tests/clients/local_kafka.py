"""A real Kafka of three brokers and a controller on loopback, for the Kafka client alone; the lab is the place for the rest.

Four JVMs, started in about ten seconds. The jars come from Maven by the lab's own list (`deploy/lab/kafka/pom.xml`), so both
run the same version.
"""

import contextlib
import gc
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from confluent_kafka.admin import AdminClient

from tests.clients import debian

ROOT = Path(__file__).parents[2]
CLUSTER_ID = "bG9jYWwta2Fma2EtdGVzdA"
JAVA = "java -Xms64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:MaxMetaspaceSize=128m -XX:-UsePerfData"
RACKS = {1001: "zone-a", 1002: "zone-b", 1003: "zone-c"}
JMX_RULES = ROOT / "deploy" / "kubernetes" / "kafka" / "config" / "jmx.yaml"


def jars() -> Path:
    """The folder of Kafka's jars."""
    return debian.jars(ROOT / "deploy" / "lab" / "kafka" / "pom.xml", ROOT / "build" / "test-kafka", "kafka_2.13-*.jar")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


class LocalKafka:
    """`start()` it once; `kill(id)` and `start_broker(id)` for a broker that goes down and returns, `hang(id)` and `wake(id)`.

    With `exporter`, each broker runs the JMX exporter with the rules that are deployed. As pods do, all have one port for it
    and an address each: `metrics_hosts`, in 127.0.0.0/8.

    Args:
        log_directories: of each broker, all on the same volume; `log_directory` is the path of one.
        properties: more lines of each broker's server.properties.
        listeners: of each broker beside the plain one: name -> security protocol.
        java_options: of each process.
        authorizer: who isn't `ANONYMOUS`, as on the plain listener, may do only what ACLs allow.
        heap_megabytes: the most of each process.
        release: whose features the cluster starts with (`metadata.version`); default: the newest ones.
    """

    authorizer_class = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"

    def __init__(
        self,
        folder: Path,
        racks: Mapping[int, str] = RACKS,
        *,
        exporter: bool = False,
        log_directories: int = 1,
        properties: str = "",
        listeners: Mapping[str, str] | None = None,
        java_options: Sequence[str] = (),
        authorizer: bool = False,
        heap_megabytes: int = 192,
        release: str | None = None,
    ) -> None:
        self.folder = folder
        self.heap_megabytes = heap_megabytes
        self.release = ["--release-version", release] if release is not None else []
        self.racks = racks
        self.log_directories = log_directories
        self.properties = properties
        self.listeners = dict(listeners or {})
        self.java_options = tuple(java_options)
        self.authorizer = f"authorizer.class.name={self.authorizer_class}\nsuper.users=User:ANONYMOUS\n" if authorizer else ""
        self.libraries = self._jars()
        controller, metrics, *brokers = free_ports(2 + len(racks) * (1 + len(self.listeners)))
        self.controller_port = controller
        self.ports = dict(zip(racks, brokers, strict=False))
        others = iter(brokers[len(racks) :])
        self.listener_ports = {broker_id: {name: next(others) for name in self.listeners} for broker_id in racks}
        self.metrics_port = metrics
        self.metrics_hosts = {broker_id: f"127.0.9.{n}" for n, broker_id in enumerate(racks, 1)} if exporter else {}
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ports.values())

    def bootstrap_of(self, listener: str) -> str:
        """The bootstrap servers of one of `listeners`."""
        return ",".join(f"127.0.0.1:{ports[listener]}" for ports in self.listener_ports.values())

    def start(self) -> None:
        self._start_node(1, "controller", self.controller_port, "")
        for broker_id in self.racks:
            self.start_broker(broker_id)
        self.wait_for_brokers(len(self.racks))

    def start_broker(self, broker_id: int, properties: str = "") -> None:
        """Start a broker, with lines of its own in its server.properties."""
        more = f"broker.rack={self.racks[broker_id]}\n{self.properties}{properties}"
        self._start_node(broker_id, "broker", self.ports[broker_id], more)

    def log_directory(self, node_id: int, number: int = 1) -> Path:
        """A node's log directory, from 1."""
        return self.folder / (str(node_id) if number == 1 else f"{node_id}-{number}")

    def wait_for_brokers(self, count: int, timeout_s: float = 90) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                if len(admin.list_topics(timeout=5).brokers) == count:
                    return
            except Exception:
                pass
            time.sleep(0.3)
        raise TimeoutError(f"{count} brokers not up after {timeout_s} s, see {self.folder}/*.log")

    def wait_for_topics(self, *names: str, timeout_s: float = 30) -> None:
        """Return when every running broker knows these topics: it hears of them a moment after the controller has made them."""
        deadline = time.monotonic() + timeout_s
        for broker_id in self.processes.keys() & self.racks.keys():
            # A client that has just been made knows no other broker than this one.
            while not set(names) <= AdminClient(self._only(broker_id)).list_topics(timeout=10).topics.keys():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"broker {broker_id} doesn't know {names} after {timeout_s} s")
                time.sleep(0.1)

    def _only(self, broker_id: int) -> dict[str, str | int]:
        return {"bootstrap.servers": f"127.0.0.1:{self.ports[broker_id]}", "log_level": 0}

    def kill(self, broker_id: int) -> None:
        process = self.processes.pop(broker_id)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def hang(self, node_id: int) -> None:
        """Stop a process; its connections stay."""
        self.processes[node_id].send_signal(signal.SIGSTOP)

    def wake(self, node_id: int) -> None:
        self.processes[node_id].send_signal(signal.SIGCONT)

    def stop(self) -> None:
        for broker_id in list(self.processes):
            self.kill(broker_id)

    def _start_node(self, node_id: int, role: str, port: int, more: str) -> None:
        directories = self.log_directories if role == "broker" else 1
        data = [self.log_directory(node_id, number + 1) for number in range(directories)]
        properties = self.folder / f"{node_id}.properties"
        listeners = self._listeners(node_id, role, port)
        addresses = ",".join(f"{name}://127.0.0.1:{its_port}" for name, its_port in listeners.items())
        protocols = {"CONTROLLER": "PLAINTEXT", "PLAINTEXT": "PLAINTEXT", **self.listeners}
        properties.write_text(
            f"{self._mode(node_id, role)}log.dirs={','.join(map(str, data))}\nlisteners={addresses}\n"
            f"listener.security.protocol.map={','.join(map(':'.join, protocols.items()))}\nauto.leader.rebalance.enable=false\n"
            "offsets.topic.num.partitions=1\nlog.cleaner.dedupe.buffer.size=2097152\nauto.create.topics.enable=false\n"
            "unstable.api.versions.enable=false\n" + self.authorizer + more
        )
        java = [*JAVA.split(), f"-Xmx{self.heap_megabytes}m", *self.java_options, "-cp", f"{self.libraries}/*"]
        with (self.folder / f"{node_id}.log").open("ab") as log:
            if not data[0].exists() and (tool := self._formatting(properties)):
                subprocess.run([*java, *tool], check=True, stdout=log, stderr=log, timeout=60)
            environment = os.environ | {"LC_ALL": "C"}
            command = [*java[:1], *self._agent(node_id), *java[1:], "kafka.Kafka", str(properties)]
            self.processes[node_id] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def _jars(self) -> Path:
        return jars()

    def _mode(self, node_id: int, role: str) -> str:
        """A node's identity, and by what it is one of the cluster."""
        return (
            f"{self._roles(node_id, role)}node.id={node_id}\ncontroller.listener.names=CONTROLLER\n"
            "broker.session.timeout.ms=6000\nbroker.heartbeat.interval.ms=1000\n"
        )

    def _formatting(self, properties: Path) -> list[str]:
        """What makes a node's disk of an empty one; nothing where Kafka does that itself."""
        tool = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties)]
        return [*tool, *self.release, *self._format()]

    def _roles(self, node_id: int, role: str) -> str:
        """What a node is, and where it finds the quorum."""
        return f"process.roles={role}\ncontroller.quorum.voters=1@127.0.0.1:{self.controller_port}\n"

    def _listeners(self, node_id: int, role: str, port: int) -> dict[str, int]:
        return {"CONTROLLER": port} if role == "controller" else {"PLAINTEXT": port, **self.listener_ports[node_id]}

    def _format(self) -> list[str]:
        """More options of the format of an empty disk."""
        return []

    def _agent(self, node_id: int) -> list[str]:
        """As `deploy/kubernetes/kafka/broker/broker.yaml` starts it."""
        if node_id not in self.metrics_hosts:
            return []
        (jar,) = self.libraries.glob("jmx_prometheus_javaagent-*.jar")
        return [f"-javaagent:{jar}={self.metrics_hosts[node_id]}:{self.metrics_port}:{JMX_RULES}"]


Cluster = TypeVar("Cluster", bound=LocalKafka)


@contextlib.contextmanager
def running(cluster: Cluster) -> Iterator[Cluster]:
    """Started, for as long as the block runs; sockets that kafka-python has left for the garbage collector end with it."""
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        gc.collect()


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A cluster for one module's tests."""
    with running(LocalKafka(tmp_path_factory.mktemp("kafka"))) as cluster:
        yield cluster
