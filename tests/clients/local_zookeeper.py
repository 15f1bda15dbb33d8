"""A real ZooKeeper server on loopback: one JVM, with jars from Maven by a list of its own (Kafka 4 has none)."""

import signal
import subprocess
import time
from pathlib import Path

from kazoo.client import KazooClient

from tests.clients import debian
from tests.clients.local_kafka import JAVA, ROOT, free_ports


def jars() -> Path:
    """The folder of ZooKeeper's jars."""
    pom = Path(__file__).parent / "zookeeper" / "pom.xml"
    return debian.jars(pom, ROOT / "build" / "test-zookeeper", "zookeeper-[0-9]*.jar")


class LocalZookeeper:
    """`start()`, `pause()` and `resume()` for a server that hangs, `stop()`.

    Args:
        folder: for its data and log.
        libraries: the folder of the jars of another release.
    """

    def __init__(self, folder: Path, libraries: Path | None = None) -> None:
        self.folder = folder
        self.libraries = libraries
        (self.port,) = free_ports(1)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def hosts(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        configuration = self.folder / "zoo.cfg"
        configuration.write_text(
            f"dataDir={self.folder / 'data'}\nclientPort={self.port}\nclientPortAddress=127.0.0.1\ntickTime=500\n"
            "admin.enableServer=false\n"
        )
        command = [
            *JAVA.split(),
            "-cp",
            f"{self.libraries or jars()}/*",
            "org.apache.zookeeper.server.ZooKeeperServerMain",
            str(configuration),
        ]
        with (self.folder / "zookeeper.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        client = KazooClient(hosts=self.hosts)
        try:
            client.start(timeout=60)
        finally:
            client.stop()
            client.close()

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
