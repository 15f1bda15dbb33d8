"""When a member of an ensemble is Ready: it follows a leader and is in sync with it, or leads and a quorum is in sync with it.

A member answers with its mode only while it serves: one that looks for a leader or copies from one says that it doesn't. A leader
that has lost its followers serves on until `syncLimit` is over, so the followers that it counts as in sync are asked for.
"""

import re

from kafka_runbooks.agent.readiness import Verdict
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.clients.security.settings import TlsSettings
from kafka_runbooks.clients.zookeeper import answers
from kafka_runbooks.clients.zookeeper.connection import Connection
from kafka_runbooks.clients.zookeeper.settings import ZookeeperSettings
from kafka_runbooks.models.ensemble import Mode

SECURE_PORT = 2281
"""ZooKeeper's `secureClientPort` in the example."""
WORDS = ("srvr", "conf", "mntr")


def judge(mode: Mode | None, synced_followers: int, voters: int) -> Verdict:
    """The rule, on one answer. `voters` is how many the ensemble has, of which the leader is one."""
    if mode is Mode.NOT_SERVING:
        return Verdict(False, "it follows no leader, or copies from one: it doesn't serve")
    if mode is Mode.LEADER:
        reason = f"it leads, and {synced_followers} of {voters - 1} followers are in sync"
        return Verdict(2 * (1 + synced_followers) > voters > 0, reason)
    return Verdict(mode in (Mode.FOLLOWER, Mode.OBSERVER, Mode.STANDALONE), f"it is {mode}")


class MemberReadiness:
    """Asks the member beside the agent, each time.

    Args:
        address: where it listens, by a name in its certificate.
        tls: None: without TLS.
    """

    def __init__(self, address: str, tls: TlsSettings | None = None) -> None:
        self._address = address
        self._connection = Connection(ZookeeperSettings(hosts=address, tls=tls))

    def verdict(self) -> Verdict:
        try:
            answer = self._connection.ask(self._address, WORDS)
            member = answers.member(self._address, answer, ())
        except ClientError as error:
            return Verdict(False, str(error))
        if member.fault is not None:
            return Verdict(False, member.fault)
        voters = re.search(r"^zk_quorum_size\t(\d+)", answer["mntr"], re.MULTILINE)
        return judge(member.mode, answers.synced_followers(answer) or 0, int(voters[1]) if voters else 0)
