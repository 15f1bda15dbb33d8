"""What an operator types: what is wrong is named with its fix, exit code 2, and no server is asked."""

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kafka_runbooks.cli import equivalents, inputs
from kafka_runbooks.cli.app import app
from kafka_runbooks.cli.printing import News
from kafka_runbooks.cli.watching import Seen
from kafka_runbooks.models.inputs import ReplaceBrokerInput
from kafka_runbooks.models.status import Progress, Status

NOWHERE = {"TEMPORAL_ADDRESS": "127.0.0.1:1"}
"""Nothing listens there: a command that asked it would end with 1."""


@pytest.mark.parametrize(
    ("runbook", "text", "says"),
    [
        ("Nope", "{}", ["RUNBOOK", "There are: ReplaceBroker"]),
        ("ReplaceBrokr", "{}", ["Did you mean ReplaceBroker?"]),
        ("ReplaceBroker", '{"cluster":}', ["--input", "line 1, column 12"]),
        ("ReplaceBroker", "", ["--input", "not valid JSON"]),
        ("ReplaceBroker", "input.json", ["--input @FILE"]),
        ("ReplaceBroker", "[1]", ["a JSON object is wanted", "list"]),
        ("ReplaceBroker", "@/does/not/exist.json", ["@/does/not/exist.json", "No such file"]),
        ("ReplaceBroker", "{}", ["cluster: is missing", "requester: is missing"]),
        ("ReplaceBroker", '{"cluster":"a","requester":"b","brokr_id":1}', ["brokr_id: no such field; did you mean broker_id?"]),
        ("ReplaceBroker", '{"cluster":"a","requester":"b"}', ["exactly one of broker_id and node"]),
        ("ReplaceBroker", '{"cluster":"a","requester":"b","broker_id":"x"}', ["broker_id:", '"x"', "the broker's id"]),
        ("ReplaceBroker", '{"cluster":"a","requester":"b","broker_id":1,"node_state":"gone"}', ["node_state:", "'lost'"]),
        (
            "ReplaceBroker",
            '{"cluster":"a","requester":"b","broker_id":1,"throttle":{"mode":"fixed","rate_bytes_per_s":1}}',
            ["throttle.fixed.rate_bytes_per_s", "1000"],
        ),
    ],
)
@pytest.mark.parametrize("command", ["start", "plan"])
def test_bad_input_is_named(command: str, runbook: str, text: str, says: list[str]) -> None:
    done = CliRunner().invoke(app, [command, runbook, "--input", text], env=NOWHERE)
    assert done.exit_code == 2
    assert done.stdout == ""
    for words in says:
        assert words in done.stderr


def test_input_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"cluster": "a",\n  "requester": }')
    with pytest.raises(inputs.BadInput, match="line 2, column 16"):
        inputs.read_json(f"@{file}")
    file.write_text('{"cluster": "a"}')
    assert inputs.read_json(f"@{file}") == {"cluster": "a"}


def test_the_schema_is_the_model_s() -> None:
    done = CliRunner().invoke(app, ["schema", "replace-broker"])
    assert done.exit_code == 0
    assert set(json.loads(done.stdout)["properties"]) == set(ReplaceBrokerInput.model_fields)


def test_an_unreachable_server_is_one_line_with_its_address() -> None:
    done = CliRunner().invoke(app, ["list"], env=NOWHERE)
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


def test_a_workflow_id_says_cluster_runbook_and_broker() -> None:
    request = ReplaceBrokerInput(cluster="lab", requester="me", broker_id=1001)
    assert inputs.workflow_id("ReplaceBroker", request).startswith("lab/replace-broker/1001-2")


def test_figures_alone_are_no_news() -> None:
    def seen(step: str, done_bytes: int) -> Seen:
        progress = Progress(done_bytes=done_bytes, total_bytes=2_000_000_000)
        status = Status(runbook="ReplaceBroker", cluster="lab", phase="steps", step=step, progress=progress)
        return Seen(workflow_id="a", run_id="b", runbook="ReplaceBroker", state="RUNNING", status=status)

    news = News()
    first = news.line(seen("follow the catch-up", 1_000_000))
    assert first is not None and "1.0 MB of 2.0 GB" in first
    assert news.line(seen("follow the catch-up", 250_500_000)) is None
    assert news.line(seen("elect preferred leaders", 250_500_000)) is not None
