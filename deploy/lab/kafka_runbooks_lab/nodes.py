"""Nodes: a containerd and a kubelet each, on a machine of its own with its own disk, address and pod subnet.

A node's `/var` is a folder of the lab's state; `/var/lib/local-disks/data` on it is the disk behind the node's one
PersistentVolume. The folder outlives a power cut, as a disk does; `/run` is in memory and does not.
"""

import base64
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from kafka_runbooks.models import labels
from kafka_runbooks_lab import images, network, paths
from kafka_runbooks_lab.cgroups import NAME, Cgroups
from kafka_runbooks_lab.errors import BadInput, LabError
from kafka_runbooks_lab.machines import Machine, wait_until

GROUPS = {"events": "i4i.large", "checks": "m6id.large", "zookeeper": "m6id.medium", "system": "m6i.large"}
"""Node group -> the instance type that a cloud would label its nodes with."""

ZONES = ("zone-a", "zone-b", "zone-c")
DISK = "/var/lib/local-disks/data"
_SOCKET = "/run/containerd/containerd.sock"

# Kernel settings that a kubelet requires, and would set on a host of its own. Files with these contents are laid over the
# real ones, so that it finds them and the host's own values stay unchanged.
_KERNEL_TUNABLES = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}


@dataclass(frozen=True)
class Node:
    """A node that exists or existed; numbers and names are never reused."""

    name: str
    group: str
    zone: str
    number: int
    deleted: bool = False

    @property
    def root(self) -> Path:
        return paths.NODES / self.name

    @property
    def var(self) -> Path:
        return self.root / "var"

    @property
    def disk(self) -> Path:
        return self.var / Path(DISK).relative_to("/var")

    @property
    def labels(self) -> dict[str, str]:
        return {
            labels.ZONE: self.zone,
            labels.HOSTNAME: self.name,
            labels.MAP: self.group,
            labels.INSTANCE_TYPE: GROUPS[self.group],
        }

    def machine(self, cgroups: Cgroups) -> Machine:
        return Machine(self.name, f"{self.name}/system", cgroups)

    def save(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "node.json").write_text(json.dumps(asdict(self)))


def known() -> list[Node]:
    """Every node created since `up`, in order of number, including deleted ones."""
    files = paths.NODES.glob("*/node.json")
    return sorted((Node(**json.loads(file.read_text())) for file in files), key=lambda node: node.number)


def find(name: str) -> Node:
    """The node of that name; `BadInput` with the existing names if there is none."""
    nodes = {node.name: node for node in known() if not node.deleted}
    if name not in nodes:
        raise BadInput(f"there is no node {name!r}; there are: {', '.join(nodes) or 'none'}")
    return nodes[name]


def fresh(group: str, zone: str) -> Node:
    """A new node of a group in a zone, under the group's next unused name."""
    if group not in GROUPS:
        raise BadInput(f"there is no node group {group!r}; there are: {', '.join(GROUPS)}")
    if zone not in ZONES:
        raise BadInput(f"there is no zone {zone!r}; there are: {', '.join(ZONES)}")
    everyone = known()
    times, letter = divmod(sum(node.group == group for node in everyone), 26)
    name = f"{group}-{chr(ord('a') + letter)}{times or ''}"
    node = Node(name, group, zone, 1 + max((node.number for node in everyone), default=0))
    node.save()
    return node


def boot(node: Node, lab: Machine, cgroups: Cgroups, kubelet: Path, token: str) -> None:
    """Power a node on: machine, containerd, image, kubelet. It is Ready a few seconds later."""
    machine = node.machine(cgroups)
    if machine.process():
        return
    for group in (node.name, f"{node.name}/system"):
        cgroups.make(group, inner=group == node.name)
    network.light(lab, node.number)
    _write_disk(node, token)
    machine.boot(_prepare(node), within=lab)
    machine.spawn("containerd", "containerd", "--config", "/var/lib/node/containerd.toml")
    ctr = ("ctr", "-a", _SOCKET, "-n", "k8s.io")
    wait_until(f"containerd of {node.name}", lambda: machine.run(*ctr, "version"), 30)
    machine.run(*ctr, "images", "import", "/var/lib/node/image.tar")
    machine.spawn(
        "kubelet",
        str(kubelet),
        "--config=/var/lib/node/kubelet.yaml",
        "--kubeconfig=/var/lib/node/kubeconfig",
        f"--hostname-override={node.name}",
        f"--node-ip={network.node_address(node.number)}",
        "--node-labels=" + ",".join(f"{key}={value}" for key, value in node.labels.items()),
        "--housekeeping-interval=30s",
    )


def power_cut(node: Node, lab: Machine, cgroups: Cgroups) -> None:
    """Cut the network first, then the power. The disk stays; Kubernetes is not told."""
    machine = node.machine(cgroups)
    if not machine.process():
        raise LabError(f"{node.name} has no power already")
    network.darken(lab, node.number)
    machine.power_off()
    cgroups.remove(node.name)


def wipe_disk(node: Node) -> None:
    """Empty the disk behind the node's volume; the folder itself stays."""
    for entry in node.disk.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _prepare(node: Node) -> str:
    """The shell script that turns a copy of the host's mounts into the node's."""
    lines = ["mount --make-rshared /"]
    for needed in {paths.CHECKOUT, paths.VENV, paths.PYTHON, paths.CACHE.resolve()}:
        if needed.is_relative_to("/var"):  # otherwise the node's own /var would hide it
            inside = node.var / needed.relative_to("/var")
            lines += [f"mkdir -p '{inside}'", f"mount --rbind '{needed}' '{inside}'"]
    for number, (tunable, value) in enumerate(_KERNEL_TUNABLES.items()):
        file = node.root / f"tunable-{number}"
        file.write_text(f"{value}\n")
        lines.append(f"if [ -e /proc/sys/{tunable} ]; then mount --bind '{file}' /proc/sys/{tunable}; fi")
    lines += [
        f"mount --rbind '{node.var}' /var",
        "mount -t tmpfs -o mode=755 run /run",
        "mkdir -p /run/lock",
    ]
    return "\n".join(lines)


def _write_disk(node: Node, token: str) -> None:
    for folder in ("lib/node/cni", "lib/kubelet", "lib/containerd", "lib/cni", "log/pods", "tmp"):
        (node.var / folder).mkdir(parents=True, exist_ok=True)
    node.disk.mkdir(parents=True, exist_ok=True)
    if not (node.var / "run").is_symlink():
        (node.var / "run").symlink_to("/run")
        (node.var / "lock").symlink_to("/run/lock")
    own = node.var / "lib/node"
    (own / "cni/10-lab.conflist").write_text(json.dumps(_cni(node)))
    (own / "containerd.toml").write_text(_CONTAINERD)
    (own / "kubelet.yaml").write_text(json.dumps(_kubelet(node)))
    kubeconfig(own / "kubeconfig", f"system:node:{node.name}", token)
    if not (own / "image.tar").exists():
        images.write(own / "image.tar")


def _cni(node: Node) -> dict[str, object]:
    """ptp, not bridge: each pod has a routed link of its own, so Services need no br_netfilter module."""
    ipam = {
        "type": "host-local",
        "dataDir": "/run/ipam",
        "ranges": [[{"subnet": network.pod_subnet(node.number)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {"cniVersion": "0.4.0", "name": "lab", "plugins": [{"type": "ptp", "ipMasq": False, "ipam": ipam}]}


_CONTAINERD = f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.NAME}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/var/lib/node/cni"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd-opt"
"""


def _kubelet(node: Node) -> dict[str, object]:
    address = network.node_address(node.number)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "healthzBindAddress": address,
        "containerRuntimeEndpoint": f"unix://{_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{NAME}/{node.name}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": False,
        "protectKernelDefaults": False,
        "localStorageCapacityIsolation": False,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "clusterDNS": [network.DNS],
        "clusterDomain": "cluster.local",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "evictionHard": dict.fromkeys(("imagefs.available", "nodefs.available", "nodefs.inodesFree", "memory.available"), "0%"),
        # A lease every 2.5 s is what keeps a node Ready; the grace period is 12 s (kubernetes.py).
        "nodeLeaseDurationSeconds": 10,
        "nodeStatusUpdateFrequency": "10s",
        # Tests kill the worker at every step boundary: the restart must not take minutes.
        "featureGates": {"KubeletCrashLoopBackOffMax": True},
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
    }


def kubeconfig(path: Path, user: str, token: str) -> None:
    """Write a kubeconfig for the API server, which is trusted by its own self-signed certificate."""
    authority = base64.b64encode((paths.STATE / "certs/apiserver.crt").read_bytes()).decode()
    cluster = {"server": f"https://{network.HOST}:6443", "certificate-authority-data": authority}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
