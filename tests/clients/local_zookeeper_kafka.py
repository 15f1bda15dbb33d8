"""A real Kafka 3.9 in ZooKeeper mode on loopback: three brokers and one ZooKeeper server, up in about ten seconds.

Each broker has a line of its own to ZooKeeper, which can be cut: its session expires then, while it goes on to serve its clients
from the metadata that it had.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.clients import debian
from tests.clients.local_kafka import RACKS, ROOT, LocalKafka, running
from tests.clients.local_zookeeper import WORDS, LocalZookeeper
from tests.clients.security.certificates import written

CHROOT = "/kafka"
LOGGING = """log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %m (%c)%n
"""
SESSION_SECONDS = 6


def jars() -> Path:
    """The folder of the jars of Kafka 3.9 and its ZooKeeper, by the lab's list."""
    pom = ROOT / "deploy" / "lab" / "kafka" / "pom-zookeeper.xml"
    return debian.jars(pom, ROOT / "build" / "test-kafka-3.9", "kafka_2.13-*.jar")


class Line:
    """From one broker to a port of this machine: `cut()` ends its connections and takes no other until `mend()`."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._lock = threading.Lock()
        self._is_cut = False
        self._ends: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        with self._lock:
            self._is_cut = True
            for end in self._ends:
                _shut(end)

    def mend(self) -> None:
        with self._lock:
            self._is_cut = False

    def close(self) -> None:
        self.cut()
        _shut(self._server)

    def _accept(self) -> None:
        with self._server:
            while True:
                try:
                    near, _ = self._server.accept()
                except OSError:
                    return
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near:
            try:
                far = socket.create_connection(("127.0.0.1", self._to_port))
            except OSError:
                return
            with far:
                with self._lock:
                    if self._is_cut:
                        return
                    self._ends |= {near, far}
                back = threading.Thread(target=_copy, args=(far, near), daemon=True)
                back.start()
                _copy(near, far)
                back.join()
                with self._lock:
                    self._ends -= {near, far}


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    _shut(source)
    _shut(sink)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class LocalZookeeperKafka(LocalKafka):
    """`cut(id)` and `mend(id)` for a broker that loses ZooKeeper; `znodes` reads and writes what Kafka has there.

    Takes what `LocalKafka` takes, but for a release.
    """

    authorizer_class = "kafka.security.authorizer.AclAuthorizer"

    def __init__(self, folder: Path, racks: Mapping[int, str] = RACKS, *, java_options: Sequence[str] = (), **more: Any) -> None:
        logging = written(folder / "log4j.properties", LOGGING)
        super().__init__(folder, racks, java_options=[*java_options, f"-Dlog4j.configuration=file:{logging}"], **more)
        self.zookeeper = LocalZookeeper(folder / "zookeeper", WORDS, libraries=self.libraries)
        self.lines = {broker_id: Line(self.zookeeper.port) for broker_id in racks}
        self.znodes = KazooClient(hosts=self.hosts)

    @property
    def hosts(self) -> str:
        """As `zookeeper.connect` of a client that isn't to be cut off."""
        return f"{self.zookeeper.hosts}{CHROOT}"

    def start(self) -> None:
        self.zookeeper.start()
        for broker_id in self.racks:
            self.start_broker(broker_id)
        self.wait_for_brokers(len(self.racks))
        self.wait_for_topics()  # One registers before it takes connections.
        self.znodes.start(timeout=30)

    def start_broker(self, broker_id: int, properties: str = "") -> None:
        """Once the session of the process before it is over: until then Kafka doesn't register it again, and it ends."""
        if self.znodes.connected:
            self.until_registered(broker_id, False)
        super().start_broker(broker_id, properties)

    def cut(self, broker_id: int) -> None:
        self.lines[broker_id].cut()

    def mend(self, broker_id: int) -> None:
        self.lines[broker_id].mend()

    def until_registered(self, broker_id: int, expected: bool, timeout_s: float = 40) -> None:
        """Return once ZooKeeper has this broker, or no longer has it."""
        deadline = time.monotonic() + timeout_s
        while (self.znodes.retry(self.znodes.exists, f"/brokers/ids/{broker_id}") is not None) != expected:
            if time.monotonic() > deadline:
                raise TimeoutError(f"broker {broker_id} {'not' if expected else 'still'} registered after {timeout_s} s")
            time.sleep(0.2)

    def stop(self) -> None:
        super().stop()
        self.znodes.stop()
        self.znodes.close()
        for line in self.lines.values():
            line.close()
        self.zookeeper.stop()

    def _jars(self) -> Path:
        return jars()

    def _mode(self, node_id: int, role: str) -> str:
        return (
            # Ids up to 1000 only where ZooKeeper may give others.
            f"{self._roles(node_id, role)}broker.id={node_id}\nbroker.id.generation.enable=false\n"
            f"zookeeper.connect=127.0.0.1:{self.lines[node_id].port}{CHROOT}\n"
            f"zookeeper.session.timeout.ms={SESSION_SECONDS * 1000}\n"
        )

    def _roles(self, node_id: int, role: str) -> str:
        return ""

    def _formatting(self, properties: Path) -> list[str]:
        return []


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalZookeeperKafka]:
    """A cluster for one module's tests."""
    with running(LocalZookeeperKafka(tmp_path_factory.mktemp("kafka"))) as cluster:
        yield cluster
