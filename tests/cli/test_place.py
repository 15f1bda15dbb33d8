"""`place` from the outside: files in, tables, JSON, plots and maps out, errors that name the field."""

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
from typer.testing import CliRunner, Result

from kafka_runbooks.cli import place, place_inputs
from kafka_runbooks.models.placement import ReassignmentMap

PROBLEMS = Path(__file__).parents[1] / "placement" / "problems"
REBALANCE = PROBLEMS / "rebalance-12x400.json.gz"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(place.app, [str(a) for a in arguments], env={"COLUMNS": "200"})


def planned(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "-o", "json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["rebuild", "--brokers", "-2", "--force"], "rebalance"),
        (["rebuild", "--brokers", "-1", "--replication", "2"], "rf_down"),
        (["replace", "--leaving", "1002", "--replacements", "1013", "--sub-affinity"], "replace"),
        (["rebalance"], "rebalance"),
        (["scale", "--new", "1013,1014"], "scale_up"),
        (["decommission", "--leaving", "1002"], "shrink"),
        (["set-rf", "--replication", "3"], "rf_up"),
        (["leaders"], "rebalance"),
        (["leaders", "--by-share"], "rebalance"),
        (["evacuate", "--brokers", "1001,1005"], "rebalance"),
        (["spread"], "rebalance"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_every_planner(arguments: list[str], problem: str) -> None:
    made = planned(*arguments, "--snapshot", PROBLEMS / f"{problem}-12x400.json.gz")
    summary = made["summary"]
    assert summary["rack_violations"] == 0 and summary["lower_bound_bytes"] <= summary["moved_bytes"]
    assert made["reassignment"]["version"] == 1


def test_sections_are_printed() -> None:
    result = run("replace", "--leaving", "1002", "--snapshot", PROBLEMS / "replace-12x400.json.gz", "--changes", 3)
    assert result.exit_code == 0
    for words in (
        "Topics with changes:",
        "marked for removal: 1002",
        "replacing 1, added 1, missing 0",
        "Partition map changes (",
        "replaced broker",
        "more (--changes 0 lists all)",
        "Broker distribution, degree",
        "Free storage, range",
        "1002 *leaves*",
        "any plan this level moves at least",
        "no plan beats",
        "Preferred leaders per broker",
    ):
        assert words in result.output


def test_raw_gzipped_and_piped_snapshots_read_alike(tmp_path: Path) -> None:
    raw = tmp_path / "snapshot"
    raw.write_bytes(gzip.decompress(REBALANCE.read_bytes()))
    assert place_inputs.read_snapshot(raw) == place_inputs.read_snapshot(REBALANCE)
    piped = CliRunner().invoke(place.app, ["leaders", "--snapshot", "-", "-o", "json"], input=raw.read_bytes())
    assert json.loads(piped.output)["summary"] == planned("leaders", "--snapshot", REBALANCE)["summary"]


def test_maps_are_written_with_rollback_and_steps(tmp_path: Path) -> None:
    made = planned("rebalance", "--snapshot", REBALANCE, "--out-path", tmp_path, "--out-file", "all", "--step-bytes", 10**11)
    read = {path.name: ReassignmentMap.model_validate_json(path.read_bytes()) for path in tmp_path.iterdir()}
    whole = {(p.topic, p.partition): p.replicas for p in read["all.json"].partitions}
    per_topic = [p for name, m in read.items() if name.startswith("t0") and "@" not in name for p in m.partitions]
    assert {(p.topic, p.partition): p.replicas for p in per_topic} == whole
    assert {(p.topic, p.partition) for p in read["all@rollback.json"].partitions} == set(whole)
    steps = [read[f"all@step{i}.json"] for i in range(len(made["steps"]))]
    assert len(steps) > 2
    assert {(p.topic, p.partition): p.replicas for step in steps for p in step.partitions} == whole
    assert sorted(made["files"]) == sorted(str(path) for path in tmp_path.iterdir())


def replicas_in(path: Path) -> dict[tuple[str, int], list[int]]:
    """A reassignment JSON, read strictly: the keys that `kafka-reassign-partitions` knows and no other."""
    raw = json.loads(path.read_text())
    assert set(raw) == {"version", "partitions"} and raw["version"] == 1
    assert all(set(p) == {"topic", "partition", "replicas"} for p in raw["partitions"])
    return {(p["topic"], p["partition"]): p["replicas"] for p in raw["partitions"]}


@pytest.mark.parametrize("cut", [["--phased"], ["--step-bytes", 10**11], ["--step-moves", 40], ["--step-brokers", 4]], ids=str)
def test_rollbacks_undo_phases_and_steps(tmp_path: Path, cut: list[object]) -> None:
    raw = json.loads(gzip.decompress(REBALANCE.read_bytes()))
    state = before = {(p["topic"], p["partition"]): p["replicas"] for p in raw["partitions"]}
    made = planned("rebalance", "--snapshot", REBALANCE, "--out-path", tmp_path, "--out-file", "all", *cut)
    word = "phase" if cut == ["--phased"] else "step"
    parts = [f"@{word}{number}" for number in range(len(made["steps"]))]
    assert len(parts) > 1 and any(
        path.name.startswith("t") and path.name.endswith("-rollback.json") for path in tmp_path.iterdir()
    )
    whole = replicas_in(tmp_path / "all.json")
    for part in parts:
        per_topic = [replicas_in(path) for path in tmp_path.glob(f"t*{part}.json")]
        assert {name: row for topic in per_topic for name, row in topic.items()} == replicas_in(tmp_path / f"all{part}.json")
        state = state | replicas_in(tmp_path / f"all{part}.json")
    assert state == before | whole
    assert state | replicas_in(tmp_path / "all@rollback.json") == before
    for part in reversed(parts):
        state = state | replicas_in(tmp_path / f"all{part}-rollback.json")
    assert state == before


def test_whole_maps_name_unchanged_partitions_too(tmp_path: Path) -> None:
    planned("rebalance", "--snapshot", REBALANCE, "--out-path", tmp_path, "--out-file", "all", "--whole")
    assert len(replicas_in(tmp_path / "all.json")) == 400


def test_the_documentation_names_commands_and_flags_that_exist() -> None:
    text = (Path(__file__).parents[2] / "docs" / "placement.md").read_text()
    ours, theirs = text.split("## Coming from topicmappr")
    ours += "".join("|".join(line.split("|")[2:]) for line in theirs.splitlines())
    commands: dict[str, Any] = typer.main.get_command(place.app).commands  # type: ignore[attr-defined]
    known = {flag for command in commands.values() for parameter in command.params for flag in parameter.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours)) - {"--json"} <= known
    named = set(re.findall(r"kafka-runbooks place ([a-z-]+)", ours)) | set(re.findall(r"^\| `([a-z-]+)", ours, re.MULTILINE))
    assert set(commands) - {"version"} <= named
    missing = known - set(re.findall(r"--[a-z][a-z-]+", ours)) - {"--no-leaders"}
    assert {flag for flag in missing if flag.startswith("--") and not flag.startswith("--no-")} == {"--help"} & missing


def test_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\S*", run("version").output.strip())


def test_phases_keep_the_old_leader_in_front(tmp_path: Path) -> None:
    shrink = PROBLEMS / "shrink-12x400.json.gz"
    planned("decommission", "--leaving", 1002, "--snapshot", shrink, "--phased", "--out-path", tmp_path, "--out-file", "all.json")
    first = json.loads((tmp_path / "all@phase0.json").read_text())
    assert any(p["replicas"][0] == 1002 and len(p["replicas"]) == 4 for p in first["partitions"])
    second = json.loads((tmp_path / "all@phase1.json").read_text())
    assert not any(1002 in p["replicas"] for p in second["partitions"])


@pytest.mark.parametrize("name", ["plot.png", "plot.svg"])
def test_plots(tmp_path: Path, name: str) -> None:
    result = run("rebalance", "--snapshot", REBALANCE, "--plot", tmp_path / name, "--frontier", tmp_path / f"f-{name}")
    assert result.exit_code == 0
    for path in (tmp_path / name, tmp_path / f"f-{name}"):
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG\r\n") and path.stat().st_size > 5_000
        else:
            assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["rebalance"], 2, "give either --snapshot FILE or --bootstrap SERVERS"),
        (["rebalance", "--snapshot", "nowhere.json"], 2, "--snapshot nowhere.json"),
        (["rebuild", "--brokers", "1,x", "--snapshot", REBALANCE], 2, "--brokers: '1,x' is no comma list"),
        (["rebuild", "--brokers", "7", "--snapshot", REBALANCE], 2, "unknown to the cluster: [7]"),
        (["rebuild", "--brokers", "-2", "--force", "--sub-affinity", "--snapshot", REBALANCE], 2, "contradict"),
        (["decommission", "--snapshot", REBALANCE], 2, "leaving: name at least one broker"),
        (["decommission", "--rack", "x", "--snapshot", REBALANCE], 2, "rack: 'x' is unknown; known: ['a', 'b', 'c']"),
        (["scale", "--new", "1001", "--snapshot", REBALANCE], 2, "hold replicas already"),
        (["rebalance", "--topics", "nope", "--snapshot", REBALANCE], 2, "no topic is called 'nope'"),
        (["set-rf", "--replication", "13", "--snapshot", REBALANCE], 1, "add 1 broker(s)"),
        (["rebalance", "--phased", "--step-bytes", "9", "--snapshot", REBALANCE], 2, "not both"),
        (["rebalance", "--plot", "x.gif", "--snapshot", REBALANCE], 2, "write a .png or a .svg"),
    ],
    ids=str,
)
def test_bad_input_names_the_field_and_touches_nothing(
    arguments: list[object], code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert (result.exit_code, words in result.output) == (code, True), result.output
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_with_a_wrong_field_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({"brokers": [{"id": 1}], "partitions": [{"topic": "t", "partition": 0, "replicas": [1, 1]}]}))
    result = run("leaders", "--snapshot", bad)
    assert result.exit_code == 2 and "partitions.0.replicas: Value error, a broker appears twice in [1, 1]" in result.output


def test_maps_file(tmp_path: Path) -> None:
    maps = tmp_path / "maps.yaml"
    maps.write_text(
        "maps:\n"
        "  - {name: first, topics: 't000[0-4]', brokers: [1001, 1002, 1003, 1004, 1005, 1006]}\n"
        "  - {name: rest, topics: 't00(0[5-9]|10)', instances: {type: i3, count: 6}}\n"
        "brokers_by_type: {i3: [1001, 1007, 1008, 1009, 1010, 1011, 1012]}\n"
    )
    made = planned("rebalance", "--snapshot", REBALANCE, "--maps", maps)
    for entry in made["reassignment"]["partitions"]:
        first = entry["topic"] < "t0005"
        assert all((b <= 1006) == first for b in entry["replicas"])
    maps.write_text("maps:\n  - {name: first, topics: '(', brokers: [1001]}\n")
    assert "maps.0.topics" in run("rebalance", "--snapshot", REBALANCE, "--maps", maps).output


def test_bytes_in_and_out_are_columns_of_the_snapshot(tmp_path: Path) -> None:
    raw = json.loads(gzip.decompress(REBALANCE.read_bytes()))
    snapshot = tmp_path / "snapshot.json"
    missing = run("rebalance", "--level", "bytes-out", "--snapshot", REBALANCE)
    assert missing.exit_code == 2 and "no partition of the snapshot has bytes_out" in missing.output
    for number, partition in enumerate(raw["partitions"]):
        partition |= {"bytes_in": 1000 + number, "bytes_out": 5000 - number}
    snapshot.write_text(json.dumps({key: raw[key] for key in ("brokers", "partitions")}))
    for level, words in (("bytes-in", "bytes in"), ("bytes-out", "bytes out")):
        summary = planned("rebalance", "--level", level, "--snapshot", snapshot)["summary"]
        assert summary["levelled"] == words and summary["spread_after"] < summary["spread_before"] / 10
    assert planned("leaders", "--level", "bytes-out", "--snapshot", snapshot)["summary"]["moved_bytes"] == 0


def test_help_imports_neither_numpy_nor_planners() -> None:
    """They take longer to load than an operator wants to wait for help."""
    script = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from kafka_runbooks.cli import place\n"
        "for command in ([], ['rebalance']):\n"
        "    assert CliRunner().invoke(place.app, [*command, '--help']).exit_code == 0\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('numpy', 'highspy', 'matplotlib', 'yaml', 'kafka')])\n"
        "print([name for name in sys.modules if name.startswith('kafka_runbooks.placement.')])\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["[]", "['kafka_runbooks.placement.errors']"]


def test_a_limit_that_no_plan_keeps_names_the_broker_and_what_helps() -> None:
    result = run("set-rf", "--replication", "3", "--max-utilisation", "0.5", "--snapshot", PROBLEMS / "rf_up-12x400.json.gz")
    assert result.exit_code == 1
    assert "below max_utilisation 0.5" in result.output and "raise max_utilisation to 0." in result.output
    wrong = run("rebalance", "--max-utilisation", "85", "--snapshot", REBALANCE)
    assert wrong.exit_code == 2 and "max_utilisation: 85 is no share of a disk" in wrong.output
