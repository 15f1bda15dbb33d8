"""The lab as one object: up, down, and every fault that its nodes and servers can be given.

All state is in the state folder, so each command and each test creates a `Lab` of its own. `up` may be repeated on a
running lab (nothing happens) and after a crash (leftovers are removed first).
"""

import contextlib
import fcntl
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kafka_runbooks_lab import (
    builds,
    connection,
    credentials,
    kubernetes,
    network,
    nodes,
    packages,
    paths,
    preflight,
    temporal,
    volumes,
    workloads,
)
from kafka_runbooks_lab.cgroups import Cgroups, recall, remember
from kafka_runbooks_lab.errors import BadInput, LabError
from kafka_runbooks_lab.machines import Machine, wait_until
from kafka_runbooks_lab.nodes import Node
from kafka_runbooks_lab.processes import Process, detach
from kafka_runbooks_lab.workloads import Flavour


def _quiet(line: str) -> None:
    """Report no progress."""


class Lab:
    """One lab per machine and state folder. Every method raises `LabError` (or a kind of it) with a reason."""

    def __init__(self, say: Callable[[str], None] = _quiet) -> None:
        """`say` receives the progress of `up` and `down`, line by line."""
        self._say = say
        self.cgroups = Cgroups.of_host()
        self.machine = Machine("lab", "system", self.cgroups)

    # -- as a whole ------------------------------------------------------------------------------------------------

    def up(
        self, *, worker: bool = True, flavour: Flavour = Flavour.KRAFT, kafka: str | None = None, plaintext: bool = False
    ) -> float:
        """Bring up Kubernetes, Kafka, Temporal and the worker; returns the seconds it took without first builds (0 if it was up).

        Raises `Unsupported` before anything is changed if this host can't carry the lab.

        Args:
            worker: with the worker's pod.
            flavour: where Kafka keeps its metadata.
            kafka: another release than the lab's own.
            plaintext: without TLS and client certificates; of KRaft only.
        """
        if plaintext and flavour is not Flavour.KRAFT:
            raise BadInput(f"plaintext is for flavour {Flavour.KRAFT}; {flavour} speaks TLS")
        with self._locked():
            if self.is_up():
                if flavour is not (now := self.flavour()):
                    raise BadInput(f"the lab that is up is of flavour {now}; take it down first: `kafka-runbooks-lab down`")
                if plaintext and connection.speaks_tls():
                    raise BadInput("the lab that is up speaks TLS; take it down first: `kafka-runbooks-lab down`")
                self._say(f"the lab is up already ({paths.STATE})")
                return 0.0
            if paths.STATE.exists() or self.cgroups.exists():
                self._say("removing leftovers of an earlier lab")
                self._clear()
            preflight.before_installing(temporal.PORTS)
            packages.install(self._say)
            preflight.after_installing()
            built = builds.ensure(self._say)
            if flavour is Flavour.ZOOKEEPER:
                built = replace(built, jars=builds.ensure_zookeeper_mode(self._say))
            elif kafka is not None:
                built = replace(built, jars=builds.ensure_kafka(self._say, kafka))
            builds.compile_bytecode(self._say)
            began = time.monotonic()
            try:
                self._start(built, flavour, worker=worker, plaintext=plaintext)
            except BaseException:
                self._say(f"that failed; logs are in {paths.LOGS}; `kafka-runbooks-lab down` cleans up")
                raise
            took = time.monotonic() - began
            up = {"seconds": round(took, 1), "checkout": str(paths.CHECKOUT), "flavour": flavour}
            paths.UP.write_text(json.dumps(up))
        return took

    def down(self) -> None:
        """Stop and remove everything, whatever state the lab is in. Safe to repeat."""
        with self._locked():
            self._clear()

    def is_up(self) -> bool:
        """Whether `up` has finished and the lab is still there."""
        return paths.UP.exists() and self.machine.process() is not None

    def flavour(self) -> Flavour:
        """Of the lab that is up."""
        return Flavour(json.loads(paths.UP.read_text())["flavour"])

    def wait_ready(self, *, worker: bool = True, seconds: float = 180) -> None:
        """Return when every node that has power is Ready and every pod of Kafka (and the worker) is; else `LabError`."""
        timeout = f"--timeout={seconds:.0f}s"
        powered = [f"node/{node.name}" for node in self.nodes() if self.has_power(node.name)]
        self.kubectl("wait", "--for=condition=Ready", timeout, *powered)
        for name in self.kubectl("-n", "kafka", "get", "statefulsets", "-o", "name").split():
            self._wait_stateful_set(name, seconds)
        if worker:
            self.kubectl("-n", "kafka-runbooks", "rollout", "status", "deployment/kafka-runbooks-worker", timeout)

    # -- nodes -----------------------------------------------------------------------------------------------------

    def nodes(self) -> list[Node]:
        """The nodes that exist, with power or without, in the order in which they were made."""
        return [node for node in nodes.known() if not node.deleted]

    def has_power(self, name: str) -> bool:
        return nodes.find(name).machine(self.cgroups).process() is not None

    def add_node(self, zone: str, group: str = "events", *, wait_seconds: float = 60) -> str:
        """Add an empty node to a zone and group, as an autoscaler would; returns its name once it is Ready."""
        self._need_process()
        node = nodes.fresh(group, zone)
        self.start_node(node.name, wait_seconds=wait_seconds)
        return node.name

    def kill_node(self, name: str) -> None:
        """Cut a node's power: unreachable at once, NotReady after the grace period of 12 s. Its disk is kept."""
        nodes.power_cut(nodes.find(name), self.machine, self.cgroups)

    def start_node(self, name: str, *, wait_seconds: float = 60) -> None:
        """Power a node on again, with its disk unchanged; returns when it is Ready."""
        self._need_process()
        began = datetime.now(UTC)
        self._boot(nodes.find(name), builds.where())
        volumes.tend(self.kubectl, self.cgroups)
        wait_until(f"node {name}", lambda: self._heard_of(name, began), wait_seconds, 0.5)
        self.kubectl("wait", "--for=condition=Ready", f"--timeout={wait_seconds:.0f}s", f"node/{name}")

    def delete_node(self, name: str) -> None:
        """Remove a node as a cloud removes a lost instance: the node object, the machine and its disk."""
        node = nodes.find(name)
        if self.has_power(name):
            self.kill_node(name)
        self.kubectl("delete", "node", name, "--ignore-not-found")
        Node(**{**vars(node), "deleted": True}).save()
        shutil.rmtree(node.var)

    def wipe_disk(self, name: str) -> None:
        """Erase a node's disk: `BadInput` while the node has power (a broker would be writing to it)."""
        if self.has_power(name):
            raise BadInput(f"{name} has power: cut it first with `kafka-runbooks-lab kill-node {name}`")
        nodes.wipe_disk(nodes.find(name))

    # -- servers ---------------------------------------------------------------------------------------------------

    def pause_api_server(self) -> None:
        """Freeze the Kubernetes API server: connections are accepted and nothing answers."""
        self.machine.signal("apiserver", signal.SIGSTOP)

    def resume_api_server(self) -> None:
        """Resume the frozen API server."""
        self.machine.signal("apiserver", signal.SIGCONT)

    def stop_temporal(self) -> None:
        """Kill Temporal's server; its state stays in its database."""
        temporal.stop(self.machine)

    def start_temporal(self) -> None:
        """Start Temporal's server again on its database; returns when it answers."""
        temporal.start(self.machine)
        temporal.wait(self.machine)

    def restart_temporal(self, *, away_seconds: float = 0.0) -> None:
        """Kill Temporal's server and start it again on the same database."""
        self.stop_temporal()
        time.sleep(away_seconds)
        self.start_temporal()

    # -- commands --------------------------------------------------------------------------------------------------

    def kubectl(self, *argv: str, input: str | None = None) -> str:
        """Run kubectl as administrator; returns its output."""
        return self.machine.run(*self.kubectl_argv(*argv), input=input)

    def kubectl_argv(self, *argv: str) -> list[str]:
        """A kubectl command to run in the lab (`exec_argv`)."""
        return self._control_plane().kubectl_argv(*argv)

    def exec_argv(self, argv: Sequence[str]) -> list[str]:
        """A command that runs `argv` in the lab's network, with its DNS, and otherwise on the host as it is.

        The process becomes the command itself, not its parent, so signals and waiting work as usual; it has access to
        the host's processes and files. It ends with the lab at the latest (its cgroup is the lab's).
        """
        process = self._need_process()
        bind = f"mount --bind {paths.STATE}/resolv.conf /etc/resolv.conf"
        script = f'{self.cgroups.enter("clients")}; {bind}; exec "$@"'
        enter = ["nsenter", f"--net=/proc/{process.pid}/ns/net", "unshare", "--mount", "--propagation", "private"]
        return [*enter, "sh", "-ec", script, "sh", *argv]

    def exec(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """`subprocess.run` in the lab's network; output captured as text unless `options` say otherwise."""
        options = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL} | options
        if "input" in options:
            del options["stdin"]
        done: subprocess.CompletedProcess[str] = subprocess.run(self.exec_argv(argv), **options)
        return done

    def popen(self, argv: Sequence[str], **options: Any) -> "subprocess.Popen[str]":
        """`subprocess.Popen` in the lab's network, text mode by default; signals reach the command itself."""
        process: subprocess.Popen[str] = subprocess.Popen(self.exec_argv(argv), **({"text": True} | options))
        return process

    def memory_bytes(self) -> int:
        """Memory that all processes of the lab hold, page cache not counted."""
        return self.cgroups.memory_bytes()

    # -- how -------------------------------------------------------------------------------------------------------

    def _clear(self) -> None:
        paths.UP.unlink(missing_ok=True)
        temporal.hide_from_host()
        process = self.machine.process()
        if process:
            process.signal(signal.SIGKILL)
        # Before waiting for it: a namespace ends only when its processes are reaped, and their parents on the host may be
        # stopped (nsenter stops itself with its child).
        self.cgroups.remove()
        if process:
            process.end(signal.SIGKILL)
        self.cgroups.close_root(recall(paths.STATE / "cgroup-controllers.json"))
        shutil.rmtree(paths.STATE, ignore_errors=True)
        if paths.STATE.exists():
            raise LabError(f"can't remove {paths.STATE}")

    def _start(self, built: builds.Built, flavour: Flavour, *, worker: bool, plaintext: bool) -> None:
        for folder in (paths.STATE, paths.LOGS, paths.NODES):
            folder.mkdir(parents=True, exist_ok=True)
        remember(paths.STATE / "cgroup-controllers.json", self.cgroups.open_root())
        for group in ("system", "clients"):
            self.cgroups.make(group)
        (paths.STATE / "resolv.conf").write_text(network.RESOLV_CONF)
        prepare = [
            "mount --make-rshared /",
            "mount -t tmpfs -o mode=755 run /run",
            f"mount --bind {paths.STATE}/resolv.conf /etc/resolv.conf",
            network.SET_UP,
        ]
        self.machine.boot("\n".join(prepare), network=True)
        plane = kubernetes.ControlPlane(self.machine, built.kubernetes)
        temporal.start(self.machine)
        self._step("Kubernetes' API server", plane.start_api)
        plane.start_rest()
        initial = [("system", "zone-a"), *[(group, zone) for group in flavour.groups for zone in nodes.ZONES]]
        fleet = [nodes.fresh(group, zone) for group, zone in initial]
        overlay = workloads.PLAINTEXT_OVERLAY if plaintext else flavour.overlay
        with ThreadPoolExecutor(3) as pool:
            applied = pool.submit(self._apply, built, fleet, overlay, plaintext)
            for future in [*[pool.submit(self._boot, node, built) for node in fleet], applied]:
                future.result()
        self._step("nodes", lambda: self._wait_registered(fleet))
        self._step("Temporal", lambda: temporal.wait(self.machine))
        temporal.show_on_host(self.machine, self.cgroups)
        if not plaintext:
            self._step("the first broker, and ACLs", self._set_acls)
        self._step("Kafka" + (" and the worker" if worker else ""), lambda: self.wait_ready(worker=worker))
        self._start_provisioner()

    def _apply(self, built: builds.Built, fleet: list[Node], overlay: Path, plaintext: bool) -> None:
        manifests = workloads.fill_in(self.kubectl("kustomize", str(overlay)), built)
        volumes = [workloads.volume(node) for node in fleet if workloads.has_volume(node)]
        secrets = credentials.make(plaintext=plaintext)
        if overlay == workloads.ZOOKEEPER_OVERLAY:
            secrets += credentials.of_ensemble()
        text = workloads.joined(manifests, secrets, volumes)
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text)

    def _set_acls(self) -> None:
        done = self.exec([sys.executable, "-m", "kafka_runbooks_lab.acls"])
        if done.returncode:
            raise LabError(f"ACLs: {done.stderr[-2000:]}")

    def _boot(self, node: Node, built: builds.Built) -> None:
        token = kubernetes.token(f"system:node:{node.name}")
        nodes.boot(node, self.machine, self.cgroups, built.kubernetes / "kubelet", token)

    def _wait_registered(self, fleet: list[Node]) -> None:
        names = {node.name for node in fleet}
        wait_until(
            "nodes", lambda: names <= set(self.kubectl("get", "nodes", "-o", "name").replace("node/", "").split()), 60, 0.5
        )
        self.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "nodes", "--all")

    def _start_provisioner(self) -> None:
        argv = [sys.executable, "-m", "kafka_runbooks_lab.provisioner"]
        script = f'{self.cgroups.enter("system")}; exec "$@"'
        detach(["sh", "-c", script, "sh", *argv], paths.LOGS / "provisioner.log").save(paths.MACHINES / "provisioner.json")

    def _wait_stateful_set(self, name: str, seconds: float) -> None:
        replicas = self.kubectl("-n", "kafka", "get", name, "-o", "jsonpath={.spec.replicas}")
        ready = "jsonpath={.status.readyReplicas}=" + replicas
        self.kubectl("-n", "kafka", "wait", f"--for={ready}", f"--timeout={seconds:.0f}s", name)

    def _heard_of(self, name: str, since: datetime) -> bool:
        """Whether the node's kubelet has reported since: a restarted node may still be Ready from before it died."""
        jsonpath = "jsonpath={.status.conditions[?(@.type=='Ready')].lastHeartbeatTime}"
        beat = self.kubectl("get", "node", name, "--ignore-not-found", "-o", jsonpath)
        return bool(beat) and datetime.fromisoformat(beat) >= since.replace(microsecond=0)

    def _step(self, what: str, act: Callable[[], object]) -> None:
        began = time.monotonic()
        act()
        self._say(f"  {what}: {time.monotonic() - began:.1f} s")

    def _control_plane(self) -> kubernetes.ControlPlane:
        return kubernetes.ControlPlane(self.machine, builds.where().kubernetes)

    def _need_process(self) -> Process:
        process = self.machine.process()
        if process is None:
            raise BadInput("the lab is not up: `kafka-runbooks-lab up` (or `make lab-up`)")
        return process

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One `up` or `down` at a time. The file lies beside the state folder, which `down` removes."""
        paths.CACHE.mkdir(parents=True, exist_ok=True)
        with (paths.CACHE / "up.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._say("another process is taking a lab up or down; waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
