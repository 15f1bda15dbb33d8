"""A real API server on loopback with etcd, and the controller-manager's signers: no node, no scheduler.

The binaries are the lab's. Users are known by tokens; the worker has its ServiceAccount's name, so its manifests' rights hold.
"""

import base64
import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from kafka_runbooks_lab import builds, packages
from kubernetes import config

from kafka_runbooks.clients.kubernetes.connection import Connection
from tests.clients.certificates.authorities import Authority, authority
from tests.clients.local_kafka import free_ports

ROOT = Path(__file__).parents[3]
WORKER = "system:serviceaccount:kafka-runbooks:kafka-runbooks-worker"
MEMBER = "system:serviceaccount:kafka:zookeeper"
SERVICE_ACCOUNTS = "system:serviceaccounts"
USERS = {"admin": "system:masters", "manager": "system:masters", WORKER: SERVICE_ACCOUNTS, MEMBER: SERVICE_ACCOUNTS}
SIGNING = "certificatesigningrequest-signing-controller"
START_SECONDS = 240
"""A bound for a machine that does much else."""


class KnownConnection(Connection):
    """A connection of a user of these tests."""

    def __init__(self, kubeconfig: Path) -> None:
        super().__init__()
        self._client = config.new_client_from_config(str(kubeconfig))


class LocalKubernetes:
    """Running; `folder` has its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signer: Authority = authority("kubernetes")
        """Of the controller-manager's signers."""
        self._binaries = builds.ensure(print).kubernetes
        self._processes: list[subprocess.Popen[bytes]] = []
        self._opened: dict[str, KnownConnection] = {}

    def start(self) -> None:
        packages.install(print)
        clients, peers, secure = free_ports(3)
        files, folder = self.folder, self.folder
        (files / "tokens.csv").write_text("".join(f'{user},{user},{user},"{group}"\n' for user, group in USERS.items()))
        (files / "signer.crt").write_bytes(self.signer.pem)
        (files / "signer.key").write_bytes(self.signer.key_pem())
        subprocess.run(["openssl", "genrsa", "-out", files / "accounts.key", "2048"], check=True, capture_output=True)
        etcd = f"http://127.0.0.1:{clients}"
        peer = f"http://127.0.0.1:{peers}"
        self.spawn(
            "etcd",
            f"--data-dir={folder / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        )
        self.spawn(
            "kube-apiserver",
            f"--etcd-servers={etcd}",
            f"--secure-port={secure}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={folder}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={files / 'accounts.key'}",
            f"--service-account-signing-key-file={files / 'accounts.key'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            f"--token-auth-file={files / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--enable-priority-and-fairness=false",
            "--profiling=false",
        )
        for user in USERS:
            self._write_kubeconfig(user, secure)
        wait_until("the API server", lambda: self._answers(), START_SECONDS)
        self.spawn(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig('manager')}",
            f"--controllers={SIGNING}",
            "--leader-elect=false",
            "--secure-port=0",
            f"--cluster-signing-cert-file={files / 'signer.crt'}",
            f"--cluster-signing-key-file={files / 'signer.key'}",
        )
        self.kubectl("create", "namespace", "kafka")

    def spawn(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a component, or another program by its path; it ends with this."""
        own = self._binaries / name
        with (self.folder / f"{Path(name).name}.log").open("ab") as log:
            process = subprocess.Popen([own if own.exists() else name, *arguments], stdout=log, stderr=log, cwd=self.folder)
        self._processes.append(process)
        return process

    def stop(self) -> None:
        for connection in self._opened.values():
            connection.client().close()
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def connection(self, user: str = WORKER) -> KnownConnection:
        if user not in self._opened:
            self._opened[user] = KnownConnection(self.kubeconfig(user))
        return self._opened[user]

    def kubectl_argv(self, *arguments: str, user: str = "admin") -> list[str]:
        return [str(self._binaries / "kubectl"), f"--kubeconfig={self.kubeconfig(user)}", *arguments]

    def kubectl(self, *arguments: str, user: str = "admin", input: str | None = None) -> str:
        done = subprocess.run(self.kubectl_argv(*arguments, user=user), input=input, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def apply(self, *documents: Any) -> None:
        """Create objects or change them."""
        self.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(documents))

    def _answers(self) -> bool:
        for process in self._processes:
            if process.poll() is not None:
                logs = "".join(path.read_text()[-1500:] for path in self.folder.glob("*.log"))
                raise RuntimeError(f"{process.args!r} ended:\n{logs}")
        try:
            return self.kubectl("get", "--raw", "/readyz") == "ok"
        except RuntimeError:
            return False

    def kubeconfig(self, user: str) -> Path:
        """The file by which a user connects."""
        return self.folder / f"{user.replace(':', '-')}.kubeconfig"

    def _write_kubeconfig(self, user: str, port: int) -> None:
        cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(self.folder / "apiserver.crt")}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": user}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user}}],
        }
        self.kubeconfig(user).write_text(yaml.safe_dump(document))


def secret(name: str, data: dict[str, bytes]) -> dict[str, Any]:
    """A Secret's manifest, in the Kafka cluster's namespace."""
    values = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "kafka"}, "data": values}


def wait_until(what: str, is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.1)


@contextlib.contextmanager
def local_kubernetes(folder: Path) -> Iterator[LocalKubernetes]:
    kubernetes = LocalKubernetes(folder)
    try:
        kubernetes.start()
        yield kubernetes
    finally:
        kubernetes.stop()
