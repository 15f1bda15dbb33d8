"""When a member of an ensemble is Ready: it follows a leader and is in sync with it, or leads and a quorum is in sync with it.

ZooKeeper answers `mntr` with a state only while it serves: a member that looks for a leader or copies from one says that it
doesn't. A leader that has lost its followers serves on until `syncLimit` is over.
"""

import socket
from collections.abc import Mapping

from kafka_runbooks.agent.readiness import Verdict

TIMEOUT_S = 2.0
PORT = 2181
COMMAND = b"mntr"


def ask(port: int = PORT) -> str:
    """What the member beside the agent answers.

    Raises:
        OSError: it doesn't.
    """
    answer = b""
    with socket.create_connection(("localhost", port), timeout=TIMEOUT_S) as connection:
        connection.sendall(COMMAND)
        while part := connection.recv(65536):
            answer += part
    return answer.decode(errors="replace")


def read(answer: str) -> dict[str, str]:
    """Names and values; none where it doesn't serve."""
    pairs = (line.partition("\t") for line in answer.splitlines())
    return {name: value.strip() for name, tab, value in pairs if tab}


def judge(observed: Mapping[str, str]) -> Verdict:
    """The rule, on one answer."""
    state = observed.get("zk_server_state")
    if state is None:
        return Verdict(False, "it follows no leader, or copies from one: it doesn't serve")
    if state != "leader":
        return Verdict(state in ("follower", "observer", "standalone"), f"it is a {state}")
    voters, synced = (int(float(observed.get(name, 0))) for name in ("zk_quorum_size", "zk_synced_followers"))
    followed = f"it leads, and {synced} of {voters - 1} followers are in sync"
    return Verdict(2 * (1 + synced) > voters > 0, followed)


def look(port: int = PORT) -> Verdict:
    """Ask once, and judge."""
    try:
        return judge(read(ask(port)))
    except (OSError, ValueError) as error:
        return Verdict(False, f"ZooKeeper doesn't answer at port {port}: {error}")
