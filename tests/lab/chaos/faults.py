"""The faults of the chaos test: how each begins and ends on the lab, and what a person's hand has set meanwhile.

A fault may fail (a broker that is down takes no setting): that is said in the log, and what it would have set counts as unknown.
"""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kafka_runbooks_lab.errors import LabError
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.chaos.audit import Found, Setting
from tests.lab.chaos.schedule import API, PERSON, TEMPORAL, Act


class NotNow(Exception):
    """It can't happen now: the broker is down already, or nothing is there to delete."""


def broker_pids() -> dict[str, int]:
    """Pod -> the process of its broker on this host."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().split(b"\0")
            if b"kafka.Kafka" not in line:
                continue
            variables = dict(one.split(b"=", 1) for one in (folder / "environ").read_bytes().split(b"\0") if b"=" in one)
        except OSError:
            continue
        if name := variables.get(b"POD_NAME", b"").decode():
            found[name] = int(folder.name)
    return found


def pod_of(broker: int) -> str:
    """Ids are given out in the order of the ordinals, three to a map; 1007 is the fourth of the events map."""
    if broker > 1006:
        return f"kafka-events-{broker - 1004}"
    return f"kafka-events-{broker - 1001}" if broker <= 1003 else f"kafka-checks-{broker - 1004}"


@dataclass
class Faults:
    """One round's faults. `heal` ends them all, whatever state they are in.

    Attributes:
        topic: the round's topic, on which partitions are added and a person's list entries are.
        doomed: one that is deleted and made again.
        foreign: one that another tool reassigns; it is on the checks map.
        lost_nodes: machines that will not come back; `heal` leaves them without power.
        theirs: what persons have set and must be there at the end.
        uncertain: subjects of settings that may or may not have been made.
    """

    lab: Lab
    topic: str
    doomed: str
    foreign: str
    lost_nodes: set[str] = field(default_factory=set)
    theirs: set[Setting] = field(default_factory=set)
    uncertain: set[tuple[str, str, str]] = field(default_factory=set)
    reported: set[Setting] = field(default_factory=set)
    """Leftovers that have been said already."""
    more: dict[str, Callable[[], object]] = field(default_factory=dict)
    """What a scenario adds."""
    _stopped: dict[int, int] = field(default_factory=dict)
    _dark: dict[int, str] = field(default_factory=dict)
    _foreign_turn: int = 0

    def begin(self, act: Act, run: str) -> None:
        """Raises `NotNow` where it can't happen, and whatever the lab, Kafka or Temporal answer."""
        broker = int(act.detail.get("broker") or 0)
        acts: dict[str, Callable[[], object]] = {
            "power cut": lambda: self._cut(broker),
            "broker hangs": lambda: self._stop(broker),
            API: self.lab.pause_api_server,
            TEMPORAL: self.lab.stop_temporal,
            "worker killed": self._kill_worker,
            "controller killed": self._kill_controller,
            "Node object deleted": lambda: self._delete_node_object(broker),
            "topic deleted": lambda: self._delete(again=False),
            "topic made again": lambda: self._delete(again=True),
            "partitions added": self._add_partitions,
            "another tool's reassignment": self._reassign,
            "throttle of another's": lambda: self._rate(str(broker), str(act.detail["direction"]), str(act.detail["rate"])),
            "list entries of another's": lambda: self._entry(str(act.detail["direction"]), str(act.detail["entry"])),
            "cluster's default throttle": lambda: self._rate("default", str(act.detail["direction"]), str(act.detail["rate"])),
            PERSON + "pause": lambda: runs.update(run, "pause"),
            PERSON + "abort": lambda: runs.update(run, "abort"),
            PERSON + "abort with rollback": lambda: runs.update(run, "abort", rollback=True),
            PERSON + "throttle set": lambda: runs.update(run, "set_throttle", **act.detail),
            PERSON + "throttle clear": lambda: runs.update(run, "clear_throttle", everything=True),
        }
        (self.more.get(act.kind) or acts[act.kind])()

    def end(self, act: Act, run: str) -> None:
        broker = int(act.detail.get("broker") or 0)
        match act.kind:
            case "power cut" | "Node object deleted":
                self._power(broker)
            case "broker hangs":
                self._go_on(broker)
            case kind if kind == API:
                self.lab.resume_api_server()
            case kind if kind == TEMPORAL:
                if self.lab.machine.daemon("temporal") is None:
                    self.lab.start_temporal()
            case kind if kind == PERSON + "pause":
                runs.update(run, "resume")

    def heal(self) -> None:
        """Every server, machine and process is back, but for lost machines; what persons have set stays."""
        if _is_stopped(self.lab):
            self.lab.resume_api_server()
        if self.lab.machine.daemon("temporal") is None:
            self.lab.start_temporal()
        for broker in list(self._stopped):
            self._go_on(broker)
        for node in self.lab.nodes():
            if not self.lab.has_power(node.name) and node.name not in self.lost_nodes:
                self.lab.start_node(node.name, wait_seconds=120)
        self._dark.clear()

    def undo_theirs(self) -> None:
        """Persons take back what they have set, and wait for the other tool."""
        for one in sorted(self.theirs):
            if one.kind == "rate":
                self._set_rate(one.subject, one.key, "")
        for subject, key, _ in sorted(self.uncertain):
            if subject.isdigit() or subject == "default":
                self._set_rate(subject, key, "")
        self.theirs.clear()
        self.uncertain.clear()

    def settle(self, found: Found) -> None:
        """A setting that failed half way counts as it was found; another tool's reassignment that has ended is no loss."""
        for subject, key, value in sorted(self.uncertain):
            one = Setting("rate", subject, key, value)
            if one in found.settings:
                self.theirs.add(one)
        self.theirs -= {one for one in self.theirs if one.kind == "reassignment" and one not in found.settings}

    def remove(self, one: Setting) -> None:
        """By hand, what no runbook has removed: the next round begins without it."""
        match one.kind:
            case "rate":
                self._set_rate(one.subject, one.key, "")
            case "list entry":
                runs.set_config(self.lab, "topic", one.subject, f"{one.key}.replication.throttled.replicas", "")
            case "log directory cordon":
                runs.set_config(self.lab, "broker", one.subject, "cordoned.log.dirs", "")
            case "ledger":
                self.lab.kubectl("-n", "kafka", "delete", "configmap", f"kafka-runbooks-ledger-{one.subject}")
            case "override":
                self.lab.kubectl("-n", "kafka", "delete", "configmap", one.subject)
            case "permit":
                runs.temporal("workflow", "terminate", "-w", one.subject, "--reason", "chaos")
            case "cordon" | "reassignment":
                pass  # nodes are uncordoned and reassignments waited for in any case

    # what each does

    def _cut(self, broker: int) -> None:
        node = runs.place_of(self.lab, broker)[1]
        if not self.lab.has_power(node):
            raise NotNow(f"{node} has no power")
        self._stopped.pop(broker, None)
        self.lab.kill_node(node)
        self._dark[broker] = node

    def _power(self, broker: int) -> None:
        node = self._dark.pop(broker, None)
        if node is not None and node not in self.lost_nodes and not self.lab.has_power(node):
            self.lab.start_node(node, wait_seconds=120)

    def _stop(self, broker: int) -> None:
        pid = broker_pids().get(pod_of(broker))
        if pid is None:
            raise NotNow(f"broker {broker} doesn't run")
        os.kill(pid, signal.SIGSTOP)
        self._stopped[broker] = pid

    def _go_on(self, broker: int) -> None:
        pid = self._stopped.pop(broker, None)
        if pid is not None and broker_pids().get(pod_of(broker)) == pid:
            os.kill(pid, signal.SIGCONT)

    def _kill_worker(self) -> None:
        pid = runs.worker_pid()
        if pid is None:
            raise NotNow("no worker runs")
        os.kill(pid, signal.SIGKILL)

    def _kill_controller(self) -> None:
        active = runs.active_controller(self.lab)
        if active is None:
            raise NotNow("no controller is active")
        self.lab.kubectl("-n", "kafka", "delete", "pod", active, "--force", "--grace-period=0", "--wait=false")

    def _delete_node_object(self, broker: int) -> None:
        """The machine runs on; its kubelet registers anew only when it starts again, so its power is switched off at the end."""
        node = runs.place_of(self.lab, broker)[1]
        if not self.lab.has_power(node):
            raise NotNow(f"{node} has no power")
        self.lab.kubectl("delete", "node", node, "--wait=false")
        self.lab.kill_node(node)
        self._dark[broker] = node

    def _delete(self, *, again: bool) -> None:
        runs.delete_topics(self.lab, self.doomed)
        if again:
            runs.create_topic(self.lab, self.doomed, doomed_rows())

    def _add_partitions(self) -> None:
        if not runs.add_partitions(self.lab, self.topic, [[1001, 1002]] * 2):
            raise NotNow("Kafka refuses while the first partition moves")

    def _reassign(self) -> None:
        """A small topic, there and back: it may be over in a moment."""
        self._foreign_turn += 1
        self.theirs.add(Setting("reassignment", f"{self.foreign}-0"))
        runs.move(self.lab, self.foreign, [[1004, 1006] if self._foreign_turn % 2 else [1004, 1005]])

    def _rate(self, subject: str, direction: str, rate: str) -> None:
        key = f"{direction}.replication.throttled.rate"
        for one in [one for one in self.theirs if (one.kind, one.subject, one.key) == ("rate", subject, key)]:
            self.theirs.discard(one)
        try:
            self._set_rate(subject, key, rate)
        except Exception:
            self.uncertain.add((subject, key, rate))
            raise
        self.theirs.add(Setting("rate", subject, key, rate))

    def _set_rate(self, subject: str, key: str, value: str) -> None:
        if subject != "default":
            runs.set_config(self.lab, "broker", subject, key, value)
            return
        runs.set_default(self.lab, key, value)

    def _entry(self, direction: str, entry: str) -> None:
        """Appended by hand to what is there, as the tools that people have do."""
        runs.append_to_list(self.lab, self.topic, f"{direction}.replication.throttled.replicas", entry)
        self.theirs.add(Setting("list entry", self.topic, direction, entry))


def doomed_rows() -> list[list[int]]:
    return [[1001, 1002] if number % 2 else [1002, 1001] for number in range(4)]


def _is_stopped(lab: Lab) -> bool:
    process = lab.machine.daemon("apiserver")
    if process is None:
        raise LabError("the API server doesn't run")
    return "\nState:\tT" in Path(f"/proc/{process.pid}/status").read_text()


def has_no_home(lab: Lab) -> list[tuple[str, str]]:
    """Broker pods that are bound to a volume of a machine that is no more: (pod, claim)."""
    nodes = {node.name for node in lab.nodes() if lab.has_power(node.name)}
    volumes = json.loads(lab.kubectl("get", "pv", "-o", "json"))["items"]
    gone = {volume["metadata"]["name"] for volume in volumes if volume["metadata"]["name"].removeprefix("local-") not in nodes}
    claims = json.loads(lab.kubectl("-n", "kafka", "get", "pvc", "-o", "json"))["items"]
    return [
        (claim["metadata"]["name"].removeprefix("data-"), claim["metadata"]["name"])
        for claim in claims
        if claim["spec"].get("volumeName") in gone
    ]
