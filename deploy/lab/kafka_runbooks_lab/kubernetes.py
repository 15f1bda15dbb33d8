"""Kubernetes' control plane: the real components, as plain processes outside of the nodes."""

import json
import secrets
import subprocess
from pathlib import Path

from kafka_runbooks_lab import network, nodes, paths
from kafka_runbooks_lab.errors import LabError
from kafka_runbooks_lab.machines import Machine, wait_until

ADMIN = paths.STATE / "admin.kubeconfig"
_USERS = {
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "system:kube-proxy": "",
}


class ControlPlane:
    """etcd, API server, controller-manager, scheduler and kube-proxy in the lab's machine."""

    def __init__(self, lab: Machine, binaries: Path) -> None:
        """`binaries` is the folder of the multi-call build, with a link per component."""
        self._lab = lab
        self._binaries = binaries

    def start_api(self) -> None:
        """Start etcd and the API server, and return when it answers."""
        certs = paths.STATE / "certs"
        certs.mkdir(exist_ok=True)
        key = paths.STATE / "service-accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        self._write_tokens()
        self._lab.spawn(
            "etcd",
            "etcd",
            f"--data-dir={paths.STATE / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            "--snapshot-count=100000",
        )
        self._lab.spawn(
            "apiserver",
            str(self._binaries / "kube-apiserver"),
            "--etcd-servers=http://127.0.0.1:2379",
            "--secure-port=6443",
            "--bind-address=0.0.0.0",
            f"--advertise-address={network.HOST}",
            f"--cert-dir={certs}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--service-cluster-ip-range={network.SERVICES}",
            f"--token-auth-file={paths.STATE / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",
            "--enable-priority-and-fairness=false",
            "--profiling=false",
        )
        wait_until("the API server's certificate", (certs / "apiserver.crt").exists, 60)
        nodes.kubeconfig(ADMIN, "admin", token("admin"))
        wait_until("the API server", lambda: self.kubectl("get", "--raw", "/readyz") == "ok", 60)

    def start_rest(self) -> None:
        """Start the components that need the API server; they are ready soon after."""
        manager = self._config("system:kube-controller-manager")
        self._lab.spawn(
            "controller-manager",
            str(self._binaries / "kube-controller-manager"),
            f"--kubeconfig={manager}",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={paths.STATE / 'service-accounts.key'}",
            f"--root-ca-file={paths.STATE / 'certs/apiserver.crt'}",
            "--leader-elect=false",
            "--node-monitor-grace-period=12s",
            "--node-monitor-period=2s",
            "--profiling=false",
        )
        scheduler = self._config("system:kube-scheduler")
        self._lab.spawn(
            "scheduler",
            str(self._binaries / "kube-scheduler"),
            f"--kubeconfig={scheduler}",
            f"--authentication-kubeconfig={scheduler}",
            f"--authorization-kubeconfig={scheduler}",
            "--leader-elect=false",
        )
        # One proxy for all nodes, which share the network; its connection limits are the host's and not changed.
        self._lab.spawn(
            "proxy",
            str(self._binaries / "kube-proxy"),
            f"--kubeconfig={self._config('system:kube-proxy')}",
            "--proxy-mode=iptables",
            "--hostname-override=system-a",
            f"--cluster-cidr={network.PODS}",
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
            "--healthz-bind-address=127.0.0.1:10256",
            "--metrics-bind-address=127.0.0.1:10249",
        )

    def kubectl_argv(self, *argv: str) -> list[str]:
        return [str(self._binaries / "kubectl"), f"--kubeconfig={ADMIN}", *argv]

    def kubectl(self, *argv: str, input: str | None = None) -> str:
        """Run kubectl as the cluster's administrator; `LabError` with its error output if it fails."""
        return self._lab.run(*self.kubectl_argv(*argv), input=input)

    def _config(self, user: str) -> Path:
        path = paths.STATE / f"{user.removeprefix('system:')}.kubeconfig"
        nodes.kubeconfig(path, user, token(user))
        return path

    def _write_tokens(self) -> None:
        """The API server reads its tokens once, so every possible node name has one from the start."""
        rows = dict(_USERS)
        rows |= {f"system:node:{group}-{chr(letter)}": "system:nodes" for group in nodes.GROUPS for letter in _LETTERS}
        tokens = {user: secrets.token_hex(16) for user in rows}
        for file, text in {
            "tokens.csv": "".join(f'{tokens[user]},{user},{user},"{group}"\n' for user, group in rows.items()),
            "tokens.json": json.dumps(tokens),
        }.items():
            (paths.STATE / file).touch(mode=0o600)
            (paths.STATE / file).write_text(text)


_LETTERS = range(ord("a"), ord("z") + 1)


def token(user: str) -> str:
    """The token of a user, which exists from `start_api` on."""
    try:
        return str(json.loads((paths.STATE / "tokens.json").read_text())[user])
    except (FileNotFoundError, KeyError) as error:
        raise LabError(f"no token for {user}: is the lab up?") from error
