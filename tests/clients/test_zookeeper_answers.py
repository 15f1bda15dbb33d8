"""What members answer, in the forms that real servers on loopback don't show."""

import pytest

from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.clients.zookeeper.answers import member, servers, synced_followers
from kafka_runbooks.models.ensemble import Mode, Server

SERVING = "Zookeeper version: 3.8.4-9316c2a7, built on 2024-02-12 22:16 UTC\nZxid: 0x1200000003\nMode: follower\nNode count: 5\n"
IN_PODS = (
    b"server.1=zookeeper-0.zookeeper.kafka.svc:2888:3888:participant;0.0.0.0:2181\n"
    b"server.2=zookeeper-1.zookeeper.kafka.svc:2888:3888:participant;2181\n"
    b"server.13=[fd00::3]:2888:3888|[fd00::4]:2888:3888:observer\nversion=0"
)


def answered(**changed: str) -> dict[str, str]:
    return {"srvr": SERVING, "conf": "clientPort=2181\nserverId=2\n", "mntr": "zk_server_state\tfollower\n", **changed}


def test_the_configuration_names_servers_in_all_its_forms() -> None:
    assert servers(IN_PODS) == (
        Server(server_id=1, host="zookeeper-0.zookeeper.kafka.svc", client_port=2181),
        Server(server_id=2, host="zookeeper-1.zookeeper.kafka.svc", client_port=2181),
        Server(server_id=13, host="fd00::3", is_observer=True),
    )
    assert servers(b"") == (), "a single server has none"


@pytest.mark.parametrize(
    ("text", "why"), [(b"server.1=a:1:2\ngroup.1=1\nweight.1=2", "groups or weights"), (None, "3.6 or newer")]
)
def test_a_quorum_that_we_cannot_count_is_refused(text: bytes | None, why: str) -> None:
    with pytest.raises(Refused, match=why):
        servers(text)


def test_who_serves_says_who_he_is_and_the_others_are_known_by_their_address() -> None:
    known = servers(IN_PODS)
    found = member("zookeeper-0.zookeeper.kafka.svc:2181", answered(), known)
    assert (found.server_id, found.mode, found.zxid, found.version) == (2, Mode.FOLLOWER, 0x1200000003, "3.8.4"), "its own word"
    silent = member("zookeeper-0.zookeeper.kafka.svc:2181", Unreachable("x: Connection refused"), known)
    assert (silent.server_id, silent.mode, silent.fault) == (1, None, "x: Connection refused")
    other = "This ZooKeeper instance is not currently serving requests\n"
    looking = member("zookeeper-1.zookeeper.kafka.svc:2281", answered(srvr=other, conf=other, mntr=other), known)
    assert (looking.server_id, looking.mode, looking.zxid) == (2, Mode.NOT_SERVING, None), "by the host: TLS has another port"
    assert member("[fd00::3]:2181", Unreachable("x"), known).server_id == 13
    assert member("somebody:2181", Unreachable("x"), known).server_id is None


def test_something_else_at_the_address_is_no_member() -> None:
    found = member("a:80", answered(srvr="HTTP/1.1 400 Bad Request\r\n"), ())
    assert found.mode is None and found.fault == "a:80: doesn't answer as ZooKeeper does"


def test_the_leader_counts_its_followers() -> None:
    assert synced_followers(answered()) is None
    assert synced_followers(answered(mntr="zk_version\t3.8.4\nzk_synced_followers\t2\n")) == 2
    assert synced_followers(answered(mntr="zk_synced_followers\t2.0\n")) == 2


def test_what_may_not_be_asked_is_refused_with_the_line_that_lets_it() -> None:
    with pytest.raises(Refused, match=r"a:1 doesn't answer to mntr: set 4lw.commands.whitelist=srvr,conf,mntr"):
        member("a:1", answered(mntr="mntr is not executed because it is not in the whitelist."), ())
