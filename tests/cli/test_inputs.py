"""What an operator types: a fault is named with its fix, exit code 2, and no server is contacted."""

import getpass
import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kafka_runbooks.cli import equivalents, inputs
from kafka_runbooks.cli.app import app
from kafka_runbooks.cli.printing import Log
from kafka_runbooks.models.inputs import ReplaceBrokerInput
from kafka_runbooks.models.status import Progress, Status
from kafka_runbooks.runs import starting
from kafka_runbooks.runs.observing import Observation
from kafka_runbooks.runs.validation import BadInput

NOWHERE = {"TEMPORAL_ADDRESS": "127.0.0.1:1"}
"""Nothing listens there: a command that contacted it would end with 1."""


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ("Nope --input {}", ["No such command 'Nope'"]),
        ("replace-brokr", ["Did you mean 'replace-broker'"]),
        ("ReplaceBroker --input '{\"cluster\":}'", ["--input", "line 1, column 12"]),
        ("ReplaceBroker --input ''", ["--input", "not valid JSON"]),
        ("ReplaceBroker --input input.json", ["--input @FILE"]),
        ("ReplaceBroker --input [1]", ["expected a JSON object", "list"]),
        ("ReplaceBroker --input @/does/not/exist.json", ["@/does/not/exist.json", "No such file"]),
        ("ReplaceBroker --input {}", ["cluster: is missing; give --cluster"]),
        ("replace-broker --broker-id 1", ["cluster: is missing; give --cluster"]),
        ('ReplaceBroker --input \'{"cluster":"a","brokr_id":1}\'', ["brokr_id: no such field; did you mean broker_ids?"]),
        ("replace-broker --cluster a", ["exactly one of broker_ids, nodes and zone"]),
        ('ReplaceBroker --input \'{"cluster":"a","broker_id":"x"}\'', ["broker_ids.0:", '"x"', "the brokers' ids"]),
        ("replace-broker --cluster a --broker-id x", ["--broker-id:", '"x"', "the brokers' ids"]),
        ("replace-broker --cluster a --broker-id 1 --node-state gone", ["--node-state:", "'lost'", '"gone"']),
        ("replace-broker --cluster a --broker-id 1 --throttle.rate 1", ["--throttle.rate-bytes-per-s:", "1000"]),
        (
            "replace-broker --cluster a --broker-id x --node-state gone --when-busy no",
            ["--broker-id", "--node-state", "--when-busy"],
        ),
        (
            "replace-broker --cluster a --broker-id 1 --throttle.f 1",
            ["--throttle.f is short for", "--throttle.floor-bytes-per-s"],
        ),
        ("replace-broker --cluster a --broker-id 1 --throttle.rate 5000 --throttle.floor 5000", ["give the fields of one mode"]),
        ("replace-broker --cluster a --broker 1 --requester ''", ["--requester:", "at least 1 character"]),
        ("replace-broker --cluster a --nonsense 1", ["No such option"]),
        ('rebalance --cluster a --change-windows \'{"start": "22:00"}\'', ["--change-windows 0.end: is missing; give it"]),
        ("scale-up --cluster a --brokers 1,x", ["--brokers: ", '"x"']),
        ("rebalance --cluster a --change-windows 22:00", ["--change-windows: not valid JSON"]),
        (
            'ReplaceBroker --input \'{"cluster":"a","broker_id":1,"throttle":{"mode":"fixed","rate_bytes_per_s":1}}\'',
            ["throttle.fixed.rate_bytes_per_s", "1000"],
        ),
    ],
)
@pytest.mark.parametrize("command", ["start", "plan"])
def test_bad_input_is_named(command: str, argv: str, says: list[str]) -> None:
    done = CliRunner().invoke(app, [command, *shlex.split(argv)], env=NOWHERE)
    assert done.exit_code == 2
    assert done.stdout == ""
    for words in says:
        assert words in done.stderr


@pytest.mark.parametrize("name", ["clear-leftovers", "ThrottleRecovery"])
def test_a_runbook_without_a_plan_says_so(name: str) -> None:
    done = CliRunner().invoke(app, ["plan", name, "--cluster", "a"], env=NOWHERE)
    assert done.exit_code == 2
    assert "has no plan" in done.stderr
    assert "clear-leftovers" not in CliRunner().invoke(app, ["plan", "--help"]).stdout


def equivalent_input(*argv: str) -> dict[str, object]:
    """The JSON of the `temporal` command that `start` prints before it connects."""
    done = CliRunner().invoke(app, ["start", *argv], env=NOWHERE)
    assert done.exit_code == 1, "it went as far as the server"
    words = shlex.split(next(line for line in done.stdout.splitlines() if line.startswith("$ temporal"))[2:])
    found: dict[str, object] = json.loads(words[words.index("--input") + 1])
    return found


def test_options_and_input_make_one_request() -> None:
    base = json.dumps(
        {"cluster": "lab", "broker_id": 1, "ticket": "INC-1", "throttle": {"mode": "fixed", "rate_bytes_per_s": 5000}}
    )
    given = equivalent_input(
        "replace-broker", "--input", base, "--broker-id", "1001", "--throttle.rate", "7000", "--node-is-gone"
    )
    assert given == {
        "requester": getpass.getuser(),
        "cluster": "lab",
        "broker_ids": [1001],
        "ticket": "INC-1",
        "throttle": {"mode": "fixed", "rate_bytes_per_s": 7000},
        "node_is_gone": True,
    }
    assert equivalent_input("ReplaceBroker", "--cluster=lab", "--broker=7", "--requester=me", "--throttle.rate=7000") == {
        "cluster": "lab",
        "requester": "me",
        "broker_ids": [7],
        "throttle": {"mode": "fixed", "rate_bytes_per_s": 7000},
    }


def test_input_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"cluster": "a",\n  "requester": }')
    with pytest.raises(BadInput, match="line 2, column 16"):
        inputs.read_object(f"@{file}")
    file.write_text('{"cluster": "a"}')
    assert inputs.read_object(f"@{file}") == {"cluster": "a"}


@pytest.mark.parametrize("name", ["replace-broker", "ReplaceBroker"])
def test_the_schema_is_the_model_s(name: str) -> None:
    done = CliRunner().invoke(app, ["schema", name])
    assert done.exit_code == 0
    assert set(json.loads(done.stdout)["properties"]) == set(ReplaceBrokerInput.model_fields)


@pytest.mark.parametrize(
    "argv",
    [["list"], ["setup"], ["schedules", "diff", str(Path(__file__).parents[2] / "deploy" / "schedules.yaml")], ["status", "x"]],
)
def test_an_unreachable_server_is_one_line_with_its_address(argv: list[str]) -> None:
    done = CliRunner().invoke(app, argv, env=NOWHERE)
    assert done.exit_code == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert "127.0.0.1:1" in errors[0]


def test_the_equivalent_command_survives_a_shell() -> None:
    data = {"cluster": "it's", "requester": 'a "b" $c', "broker_id": 1}
    words = shlex.split(equivalents.start("ReplaceBroker", data, "lab/x", "queue"))
    assert json.loads(words[words.index("--input") + 1]) == data
    assert "--fail-existing" in words
    assert words[words.index("--task-queue") + 1] == "queue"


def test_a_workflow_id_says_cluster_runbook_and_target() -> None:
    request = ReplaceBrokerInput(cluster="lab", requester="me", broker_ids=(1001,))
    assert starting.workflow_id("ReplaceBroker", request).startswith("lab/replace-broker/1001-2")
    request = ReplaceBrokerInput(cluster="lab", requester="me", nodes=("n1",))
    assert starting.workflow_id("ReplaceBroker", request).startswith("lab/replace-broker/n1-2")


def test_figures_alone_make_no_line() -> None:
    def observed(step: str, done_bytes: int) -> Observation:
        progress = Progress(done_bytes=done_bytes, total_bytes=2_000_000_000)
        status = Status(runbook="ReplaceBroker", cluster="lab", phase="steps", step=step, progress=progress)
        return Observation(workflow_id="a", run_id="b", runbook="ReplaceBroker", state="RUNNING", status=status)

    log = Log()
    first = log.line(observed("follow the catch-up", 1_000_000))
    assert first is not None and "1.0 MB of 2.0 GB" in first
    assert log.line(observed("follow the catch-up", 250_500_000)) is None
    assert log.line(observed("elect preferred leaders", 250_500_000)) is not None
