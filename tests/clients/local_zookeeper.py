"""Real ZooKeeper servers on loopback: a single one, or an ensemble. One JVM each, with jars from Maven by a list of its own."""

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from kazoo.client import KazooClient

from tests.clients import debian
from tests.clients.local_kafka import JAVA, ROOT, free_ports
from tests.clients.security.certificates import Authority, written

MAIN = "org.apache.zookeeper.server"
WORDS = "4lw.commands.whitelist=srvr,mntr,conf\n"
"""Those that the client asks."""


def jars() -> Path:
    """The folder of ZooKeeper's jars."""
    pom = Path(__file__).parent / "zookeeper" / "pom.xml"
    return debian.jars(pom, ROOT / "build" / "test-zookeeper", "zookeeper-[0-9]*.jar")


class Process:
    """One server's, with its configuration and log in a folder."""

    def __init__(
        self, folder: Path, main: str, configuration: str, java_options: Sequence[str] = (), libraries: Path | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._main, self._options, self._libraries = folder, main, java_options, libraries
        self._configuration = written(folder / "zoo.cfg", configuration)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            *JAVA.split(),
            *self._options,
            "-cp",
            f"{self._libraries or jars()}/*",
            f"{MAIN}.{self._main}",
            str(self._configuration),
        ]
        with (self._folder / "zookeeper.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def pause(self) -> None:
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, what: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(what)
        time.sleep(0.1)  # Its threads stop and go on one after the other.

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None


class LocalZookeeper:
    """`start()`, `pause()` and `resume()` for a server that hangs, `stop()`.

    Args:
        folder: for its data and log.
        properties: more lines of its zoo.cfg.
        libraries: the folder of another release's jars.
    """

    def __init__(self, folder: Path, properties: str = "", *, libraries: Path | None = None) -> None:
        (self.port,) = free_ports(1)
        configuration = (
            f"dataDir={folder / 'data'}\nclientPort={self.port}\nclientPortAddress=127.0.0.1\ntickTime=500\n"
            f"admin.enableServer=false\n{properties}"
        )
        self._process = Process(folder, "ZooKeeperServerMain", configuration, libraries=libraries)
        self.pause, self.resume, self.stop = self._process.pause, self._process.resume, self._process.stop

    @property
    def hosts(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process.start()
        _until_served(self.hosts)


class LocalEnsemble:
    """Three servers with ids 1, 2 and 3, and observers after them.

    Attributes:
        authority: whose certificates members serve and trust, with `tls`.

    Args:
        tls: clients have TLS only, with a certificate (`secureClientPort`).
        properties: more lines of each member's zoo.cfg.
    """

    def __init__(
        self, folder: Path, *, observers: int = 0, tls: bool = False, properties: str = "", java_options: Sequence[str] = ()
    ) -> None:
        self.ids = tuple(range(1, 4 + observers))
        ports = free_ports(3 * len(self.ids))
        self.ports = dict(zip(self.ids, ports, strict=False))
        self._folder, self._has_tls, self.authority = folder, tls, Authority("ensemble CA")
        servers = ""
        for server_id, quorum, election in zip(
            self.ids, ports[len(self.ids) : 2 * len(self.ids)], ports[2 * len(self.ids) :], strict=True
        ):
            role = "observer" if server_id > 3 else "participant"
            client = "" if tls else f";127.0.0.1:{self.ports[server_id]}"
            servers += f"server.{server_id}=127.0.0.1:{quorum}:{election}:{role}{client}\n"
        self.members = {
            server_id: Process(
                self._home(server_id),
                "quorum.QuorumPeerMain",
                f"dataDir={self._data(server_id)}\ntickTime=500\ninitLimit=20\nsyncLimit=4\nadmin.enableServer=false\n"
                + ("peerType=observer\n" if server_id > 3 else "")
                + (self._tls(server_id) if tls else "")
                + WORDS
                + properties
                + servers,
                java_options,
            )
            for server_id in self.ids
        }
        for server_id in self.ids:
            self._data(server_id).mkdir()
            (self._data(server_id) / "myid").write_text(f"{server_id}\n")

    def _home(self, server_id: int) -> Path:
        return self._folder / str(server_id)

    def _data(self, server_id: int) -> Path:
        return self._home(server_id) / "data"

    def _tls(self, server_id: int) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        store = written(self._folder / f"{server_id}.pem", self.authority.leaf("member", "127.0.0.1").both)
        trusted = written(self._folder / "ca.pem", self.authority.pem)
        return (
            f"secureClientPort={self.ports[server_id]}\nsecureClientPortAddress=127.0.0.1\n"
            f"serverCnxnFactory={MAIN}.NettyServerCnxnFactory\n"
            f"ssl.keyStore.location={store}\nssl.trustStore.location={trusted}\nssl.hostnameVerification=false\n"
        )

    @property
    def hosts(self) -> str:
        return ",".join(map(self.address, self.ids))

    def address(self, server_id: int) -> str:
        return f"127.0.0.1:{self.ports[server_id]}"

    def start(self) -> None:
        for member in self.members.values():
            member.start()
        if not self._has_tls:
            for server_id in self.ids:
                _until_served(self.address(server_id))

    def stop(self) -> None:
        for member in self.members.values():
            member.stop()

    def wipe(self, server_id: int) -> None:
        """Its disk is lost, and it comes back under its id."""
        shutil.rmtree(self._data(server_id))
        self._data(server_id).mkdir()
        (self._data(server_id) / "myid").write_text(f"{server_id}\n")

    def mode(self, server_id: int) -> str:
        """By its own word; empty: it has none."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.ports[server_id]), 1) as link:
            link.sendall(b"srvr")
            answer = b""
            while more := link.recv(4096):
                answer += more
            return next((line[6:] for line in answer.decode().splitlines() if line.startswith("Mode: ")), "")
        return ""

    def leader(self, seconds: float = 40) -> int:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for server_id in self.ids:
                if self.mode(server_id) == "leader":
                    return server_id
            time.sleep(0.1)
        raise TimeoutError("no leader")

    def healed(self, seconds: float = 60) -> None:
        """Wait until every member serves."""
        deadline = time.monotonic() + seconds
        while not all(self.mode(server_id) for server_id in self.ids):
            assert time.monotonic() < deadline, "members don't come back"
            time.sleep(0.1)


def _until_served(hosts: str) -> None:
    client = KazooClient(hosts=hosts)
    try:
        client.start(timeout=60)
    finally:
        client.stop()
        client.close()
