"""What operators reported of such tools: clusters, names and files that aren't tidy, each a small input of its own."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kafka_runbooks.cli import place
from kafka_runbooks.cli.place_files import stems, write_all
from kafka_runbooks.placement.errors import InvalidRequest


def run(*arguments: object) -> Result:
    return CliRunner().invoke(place.app, [str(a) for a in arguments], env={"COLUMNS": "200"})


def snapshot(
    tmp_path: Path, topics: tuple[str, ...] = ("orders",), broker: dict[str, Any] | None = None, **partition: Any
) -> Path:
    """Two partitions of each topic on brokers 1-3, nothing on 4-6; further fields for each broker and partition."""
    path = tmp_path / "snapshot.json"
    brokers = [{"id": b, "rack": "abc"[b % 3], "capacity": 1000, "free": 900, **(broker or {})} for b in range(1, 7)]
    partitions = [
        {"topic": topic, "partition": p, "replicas": [1, 2, 3], "size": 10, **partition} for topic in topics for p in range(2)
    ]
    path.write_text(json.dumps({"brokers": brokers, "partitions": partitions}))
    return path


def written(folder: Path) -> dict[str, set[str]]:
    return {
        path.name: {p["topic"] for p in json.loads(path.read_text())["partitions"]}
        for path in folder.rglob("*")
        if path.is_file()
    }


HOSTILE = ("orders", "orders-rollback", "orders-step0", "orders-step0-rollback", "orders-phase0", "all", "Orders")


def test_no_topic_s_name_makes_two_files_meet(tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = run(
        "replace", "--leaving", 3, "--snapshot", snapshot(tmp_path, HOSTILE), "--out-path", out, "--step-moves", 1, "-o", "json"
    )
    assert found.exit_code == 0, found.output
    files = written(out)
    assert len(files) == len(json.loads(found.output)["files"]) and all(len(topics) == 1 for topics in files.values())
    assert {topic for topics in files.values() for topic in topics} == set(HOSTILE)
    assert len({name.casefold() for name in files}) == len(files), "also where a file system doesn't tell cases apart"


def test_a_combined_map_with_the_name_of_a_topic_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = run("replace", "--leaving", 3, "--snapshot", snapshot(tmp_path, HOSTILE), "--out-path", out, "--out-file", "all.json")
    assert found.exit_code == 2 and "--out-file: all.json is the map of a topic" in found.output and not out.exists()


def test_long_names_are_shortened_with_a_hash_and_listed(tmp_path: Path) -> None:
    long = ("x" * 249, "x" * 248 + "y")
    found = run(
        "replace",
        "--leaving",
        3,
        "--snapshot",
        snapshot(tmp_path, long),
        "--out-path",
        tmp_path / "out",
        "--phased",
        "-o",
        "json",
    )
    assert found.exit_code == 0, found.output
    made = json.loads(found.output)
    assert set(made["shortened"]) == set(long) and len(set(made["shortened"].values())) == 2
    assert set(written(tmp_path / "out")) == {Path(path).name for path in made["files"]}


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc").is_dir(), reason="root may write everywhere else")
@pytest.mark.parametrize("folder", ["/proc/nothing", "file/below"])
def test_a_folder_that_can_t_be_written_is_one_line(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("")
    found = run("replace", "--leaving", 3, "--snapshot", snapshot(tmp_path), "--out-path", tmp_path / folder)
    assert found.exit_code == 2 and len(found.output.splitlines()) == 1 and "nothing was written" in found.output


def test_files_are_written_all_or_none(tmp_path: Path) -> None:
    before = tmp_path / "one.json"
    before.write_text("old")

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    with pytest.raises(InvalidRequest, match="No space left"):
        write_all({before: lambda path: path.write_text("new"), tmp_path / "two.json": full})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"one.json": "old"}


def test_stems_are_distinct_and_fit() -> None:
    names = ["a", "A", "b" * 249, "b" * 248 + "c", "plain"]
    found = stems(names)
    assert len({stem.casefold() for stem in found.values()}) == len(names)
    assert all(len(stem) <= 230 for stem in found.values()) and found["plain"] == "plain"


@pytest.mark.parametrize(
    ("options", "item"),
    [
        (["--topics", "foo.baz"], "foo.baz"),
        (["--topics", "order."], "order."),
        (["--topics", "orders,nope.*"], "nope.*"),
        (["--topics-exclude", "nope"], "nope"),
        (["--topics-exclude", "nope.+"], "nope.+"),
        (["--topics", ","], "--topics"),
    ],
    ids=str,
)
def test_an_item_that_matches_nothing_is_bad_input(tmp_path: Path, options: list[str], item: str) -> None:
    found = run("set-rf", "--replication", 2, *options, "--snapshot", snapshot(tmp_path))
    assert found.exit_code == 2 and item in found.output and len(found.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("broker", "partition", "says"),
    [
        ({"broker.rack": "a"}, {}, ["brokers.0.broker.rack", "did you mean 'rack'"]),
        ({}, {"isr": [1]}, ["partitions.0.isr", "did you mean 'in_sync'"]),
        ({}, {"replica": [1]}, ["partitions.0.replica ", "did you mean 'replicas'"]),
        ({"freee": 1}, {"isr": [1]}, ["brokers.0.freee", "partitions.0.isr"]),
        ({}, {"replicas": []}, ["partitions.0.replicas"]),
        ({}, {"replicas": [-2]}, ["partitions.0.replicas.0"]),
        ({}, {"size": 2**63}, ["partitions.0.size"]),
        ({}, {"size": -1}, ["partitions.0.size"]),
        ({}, {"size": 2**59}, ["partitions: the sizes"]),
        ({}, {"replicas": [2**31]}, ["partitions.0.replicas.0"]),
        ({"id": 2**63}, {}, ["brokers.0.id"]),
        ({"free": 1001}, {}, ["brokers.0", "free: 1001 bytes are more than the capacity"]),
        ({}, {"sizes": [1]}, ["partitions.0", "sizes: 1 for 3 replicas"]),
    ],
    ids=str,
)
def test_a_wrong_field_is_one_line_that_names_it(
    tmp_path: Path, broker: dict[str, Any], partition: dict[str, Any], says: list[str]
) -> None:
    found = run("rebalance", "--snapshot", snapshot(tmp_path, broker=broker, **partition))
    assert found.exit_code == 2 and all(words in found.output for words in says), found.output
    assert len(found.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["rebuild", "--brokers", 10**30], 2, "--brokers"),
        (["set-rf", "--replication", 10**30], 2, "replication"),
        (["rebalance", "--size-factor", "1e300"], 2, "size_factor"),
        (["rebuild", "--brokers", -2, "--replication", 10**30], 2, "replication"),
        (["rebalance", "--target-spread", "inf"], 0, ""),
        (["rebalance", "--min-racks", 10**30], 0, ""),
        (["rebalance", "--max-moved-bytes", 10**30], 0, ""),
        (["rebalance", "--smallest-moved-bytes", 10**30], 0, ""),
        (["spread", "--smallest-moved-bytes", 10**30], 0, ""),
        (["replace", "--leaving", 1, "--step-bytes", 10**30], 0, ""),
    ],
    ids=str,
)
def test_numbers_out_of_range_end_in_one_line(tmp_path: Path, arguments: list[object], code: int, says: str) -> None:
    found = run(*arguments, "--snapshot", snapshot(tmp_path))
    assert found.exit_code == code and says in found.output, (found.output, found.exception)
    assert code == 0 or len(found.output.splitlines()) == 1


def test_a_cluster_that_is_away_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    found = run("leaders", "--bootstrap", "localhost:1")
    assert found.exit_code == 1 and len(found.output.splitlines()) == 1 and "--bootstrap localhost:1" in found.output
    assert capfd.readouterr() == ("", ""), "librdkafka writes past sys.stderr"
