"""The register of server IDs on a real API server, with the rights that members are deployed with."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from kafka_runbooks.agent.ensemble import claim_server_ids
from kafka_runbooks.clients.errors import Conflict, Refused
from kafka_runbooks.clients.kubernetes.server_ids import ServerIdRegister
from tests.clients.certificates.conftest import MANIFESTS
from tests.clients.certificates.local_kubernetes import MEMBER, LocalKubernetes

pytestmark = pytest.mark.timeout(2_400)  # the first one may have to build what it starts

PODS = ("zookeeper-0", "zookeeper-1", "zookeeper-2")
NAME = "zookeeper-ids-lab"


def registers(api_server: LocalKubernetes, count: int) -> list[ServerIdRegister]:
    """The deployed register, empty, as that many members see it."""
    api_server.kubectl("-n", "kafka", "delete", "configmap", NAME, "--ignore-not-found")
    api_server.kubectl("apply", "-f", str(MANIFESTS / "zookeeper/access.yaml"))
    return [ServerIdRegister("kafka", "lab", api_server.connection(MEMBER)) for _ in range(count)]


def test_a_race_gives_no_id_twice_and_all_find_theirs_again(api_server: LocalKubernetes) -> None:
    members = registers(api_server, 8)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda member: claim_server_ids(member, PODS), members))
    assert found == [{"zookeeper-0": 1, "zookeeper-1": 2, "zookeeper-2": 3}] * 8
    api_server.kubectl("apply", "-f", str(MANIFESTS / "zookeeper/access.yaml"))
    assert claim_server_ids(members[0], PODS) == found[0], "deploying again leaves what agents have written"


def test_a_change_that_is_based_on_an_older_version_is_a_conflict(api_server: LocalKubernetes) -> None:
    first, second = registers(api_server, 2)
    version = first.read().version
    first.add({"zookeeper-0": 1}, ["zookeeper-0"], version)
    with pytest.raises(Conflict, match=NAME):
        second.add({"zookeeper-1": 1}, [], version)
    assert second.read().ids == {"zookeeper-0": 1}


def test_the_permission_to_begin_empty_is_gone_once_a_pod_has_begun(api_server: LocalKubernetes) -> None:
    (register,) = registers(api_server, 1)
    claim_server_ids(register, PODS)
    assert register.read().may_be_empty == set(PODS)
    register.begun("zookeeper-1")
    found = register.read()
    assert found.may_be_empty == {"zookeeper-0", "zookeeper-2"} and found.ids["zookeeper-1"] == 2


def test_what_members_tell_of_their_files_leaves_their_ids_and_each_other_s_entries(api_server: LocalKubernetes) -> None:
    first, second = registers(api_server, 2)
    claim_server_ids(first, PODS)
    first.add_entries("lab", {"zookeeper-0.tls": "{}"}, None)
    second.add_entries("lab", {"zookeeper-1.tls": "{}"}, None)
    api_server.kubectl("apply", "-f", str(MANIFESTS / "zookeeper/access.yaml"))
    data = api_server.kubectl("-n", "kafka", "get", "configmap", NAME, "-o", "jsonpath={.data}")
    assert json.loads(data) == {"zookeeper-0.tls": "{}", "zookeeper-1.tls": "{}"} and len(first.read().ids) == 3


def test_an_id_that_is_no_number_and_a_register_that_is_not_there_are_refused_by_name(api_server: LocalKubernetes) -> None:
    (register,) = registers(api_server, 1)
    api_server.kubectl("-n", "kafka", "annotate", "configmap", NAME, "server-id.kafka-runbooks.io/zookeeper-1=two")
    with pytest.raises(Refused, match="zookeeper-1 has 'two', which is not a server ID"):
        register.read()
    api_server.kubectl("-n", "kafka", "delete", "configmap", NAME)
    with pytest.raises(Refused, match=f"ConfigMap {NAME} doesn't exist in namespace kafka: create it, empty"):
        register.read()


def test_a_member_reaches_no_other_config_map(api_server: LocalKubernetes) -> None:
    registers(api_server, 1)
    other = ServerIdRegister("kafka", "other", api_server.connection(MEMBER))
    with pytest.raises(Refused, match="403 Forbidden"):
        other.read()
