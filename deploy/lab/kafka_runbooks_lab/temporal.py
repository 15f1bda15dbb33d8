"""Temporal's dev server, with its state in a file, so that it survives a restart of the server.

It runs as a process of the lab's machine, beside a Service without selector: pods reach it as
`temporal.temporal.svc.cluster.local:7233`, the host as 127.0.0.1:7233 and 127.0.0.1:8233 (`forward`).
"""

import os
import signal
import sys

from kafka_runbooks import search_attributes
from kafka_runbooks_lab import network, paths
from kafka_runbooks_lab.cgroups import Cgroups
from kafka_runbooks_lab.errors import LabError
from kafka_runbooks_lab.machines import Machine, wait_until
from kafka_runbooks_lab.processes import Process, detach

GRPC_PORT, UI_PORT = 7233, 8233
PORTS = (GRPC_PORT, UI_PORT)
_FORWARDER = paths.MACHINES / "forwarder.json"


def start(lab: Machine) -> None:
    """Start the server; `wait` for it before use."""
    attributes = [word for key in search_attributes.ALL for word in ("--search-attribute", f"{key.name}=Keyword")]
    lab.spawn(
        "temporal",
        *(str(paths.temporal()), "server", "start-dev"),
        *("--ip", "0.0.0.0", "--port", str(GRPC_PORT), "--ui-ip", "0.0.0.0", "--ui-port", str(UI_PORT)),
        *("--db-filename", str(paths.STATE / "temporal.sqlite"), "--log-level", "warn"),
        *attributes,
    )


def wait(lab: Machine) -> None:
    """Return when the server answers; `LabError` after 60 s."""
    health = (str(paths.temporal()), "operator", "cluster", "health", "--address", f"{network.HOST}:{GRPC_PORT}")
    wait_until("Temporal", lambda: "SERVING" in lab.run(*health), 60)


def stop(lab: Machine, number: int = signal.SIGKILL) -> None:
    """Kill the server's process (default signal: as in a crash)."""
    process = lab.daemon("temporal")
    if process is None:
        raise LabError("Temporal does not run")
    process.end(number)


def show_on_host(lab: Machine, cgroups: Cgroups) -> None:
    """Start the forwarder, which ends with the lab."""
    holder = lab.process()
    if holder is None:
        raise LabError("the lab is not up")
    rules = [f"{port}:{network.HOST}:{port}" for port in PORTS]
    reader, writer = os.pipe()
    argv = [sys.executable, "-m", "kafka_runbooks_lab.forward", str(holder.pid), str(writer), *rules]
    log = paths.LOGS / "forwarder.log"
    try:
        process = detach(["sh", "-c", f'{cgroups.enter("system")}; exec "$@"', "sh", *argv], log, keep=[writer])
    finally:
        os.close(writer)
    process.save(_FORWARDER)
    with os.fdopen(reader, "rb") as pipe:
        if pipe.readline() != b"ready\n":
            raise LabError(f"the forwarder did not start; see {log}")


def hide_from_host() -> None:
    """Stop the forwarder; the kernel frees its ports."""
    if process := Process.load(_FORWARDER):
        process.end()
