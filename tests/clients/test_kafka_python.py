"""What of kafka-python's inside the client depends on, so that a new version fails here by name and not in a runbook."""

import ast
import inspect
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kafka as library
import pytest
from kafka import KafkaAdminClient
from kafka.net.manager import KafkaConnectionManager

import kafka_runbooks.clients
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.kafka.kafka_python import (
    PRIVATE_API,
    AddRaftVoterRequest,
    AddRaftVoterResponse,
    KafkaPythonAdmin,
    RemoveRaftVoterRequest,
    RemoveRaftVoterResponse,
    UnregisterBrokerRequest,
    UnregisterBrokerResponse,
)
from kafka_runbooks.clients.security.connection import Connection

CLIENTS = Path(kafka_runbooks.clients.__file__).parent


@pytest.fixture(scope="module")
def client() -> Iterator[KafkaAdminClient]:
    """A client that was never connected."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KafkaConnectionManager, "bootstrap", lambda *_: None)
        client = KafkaAdminClient(bootstrap_servers=["127.0.0.1:1"])
    yield client
    client.close()


@pytest.mark.parametrize("path", PRIVATE_API)
def test_a_private_attribute_is_there_and_callable(client: KafkaAdminClient, path: str) -> None:
    found = client
    for name in path.split("."):
        assert hasattr(found, name), f"kafka-python {library.__version__}: KafkaAdminClient.{path} is gone (no {name!r})"
        found = getattr(found, name)
    assert callable(found)


def test_send_takes_a_broker_and_run_a_function_with_its_arguments(client: KafkaAdminClient) -> None:
    inspect.signature(client._manager.send).bind("request", 1001)
    inspect.signature(client._manager.run).bind(client._manager.send, "request", 1001)


def private_attributes(module: Path) -> set[str]:
    """Each chain of attributes in a module that starts with an underscore at something other than `self`."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
            node = node.value
        is_own = isinstance(node, ast.Name) and node.id in ("self", "cls")
        if names and names[0].startswith("_") and not names[0].startswith("__") and not is_own:
            found.add(".".join(names))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(module.read_text()))
    return found


def test_private_api_is_used_as_listed_and_in_one_module_only() -> None:
    modules = {path: private_attributes(path) for path in CLIENTS.rglob("*.py")}
    assert {path.name: used for path, used in modules.items() if used} == {"kafka_python.py": set(PRIVATE_API)}


def test_unregister_broker_is_kip_631s_message() -> None:
    assert (UnregisterBrokerRequest.API_KEY, UnregisterBrokerResponse.API_KEY) == (64, 64)
    request = UnregisterBrokerRequest(version=0, broker_id=1001)
    assert request.encode() == b"\x00\x00\x03\xe9" + b"\x00"
    answer = b"\x00\x00\x00\x00" + (102).to_bytes(2, "big") + b"\x03no" + b"\x00"
    decoded = UnregisterBrokerResponse.decode(answer, version=0)
    assert (decoded.error_code, decoded.error_message) == (102, "no")


def test_changes_of_voters_are_kip_853s_messages() -> None:
    assert (AddRaftVoterRequest.API_KEY, AddRaftVoterResponse.API_KEY) == (80, 80)
    assert (RemoveRaftVoterRequest.API_KEY, RemoveRaftVoterResponse.API_KEY) == (81, 81)
    directory = uuid.UUID(int=7)
    removal = RemoveRaftVoterRequest(version=0, cluster_id=None, voter_id=1001, voter_directory_id=directory)
    assert removal.encode() == b"\x00" + b"\x00\x00\x03\xe9" + directory.bytes + b"\x00"
    listener = AddRaftVoterRequest.Listener(name="C", host="h", port=65_000)
    fields = {"cluster_id": None, "timeout_ms": 1, "voter_id": 1001, "voter_directory_id": directory, "listeners": [listener]}
    addition = b"\x00" + b"\x00\x00\x00\x01" + b"\x00\x00\x03\xe9" + directory.bytes + b"\x02\x02C\x02h\xfd\xe8\x00"
    assert AddRaftVoterRequest(version=0, **fields).encode() == addition + b"\x00"
    assert AddRaftVoterRequest(version=1, ack_when_committed=True, **fields).encode() == addition + b"\x01" + b"\x00"
    for response in (AddRaftVoterResponse, RemoveRaftVoterResponse):
        decoded = response.decode(b"\x00\x00\x00\x00" + (127).to_bytes(2, "big") + b"\x03no" + b"\x00", version=0)
        assert (decoded.error_code, decoded.error_message) == (127, "no")


def test_brokers_are_asked_for_all_their_replicas_some_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 answers of 2,000 replicas take longer to read than a broker may be silent; those of a few partitions don't."""
    admin, asked = KafkaPythonAdmin(Connection("none:1", None)), list[int]()

    def ask_each(what: str, requests: Mapping[int, Any], timeout_seconds: float) -> dict[int, Any]:
        asked.append(len(requests))
        return {broker_id: Unreachable("silent") for broker_id in requests}

    monkeypatch.setattr(admin, "ask_each", ask_each)
    assert admin.log_directories(dict.fromkeys(range(100))) == {}
    assert [number for number in asked if number] == [30, 30, 30, 10]
    asked.clear()
    admin.log_directories({broker_id: {"t": [0]} for broker_id in range(100)})
    assert asked == [100]
