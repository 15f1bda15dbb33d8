"""Options made of input models: what each field becomes, and what comes back from what was typed."""

import json
from pathlib import Path
from typing import Any

import pytest

from kafka_runbooks.catalogue import RUNBOOKS
from kafka_runbooks.cli import options
from kafka_runbooks.cli.options import Option
from kafka_runbooks.models.inputs import RebalanceInput, ReplaceBrokerInput, RunPlanInput
from kafka_runbooks.runs.validation import BadInput, validate

OWN = {"--input", "--id", "--wait", "--output", "--help"}
"""Options of `start` and `plan` themselves."""


def by_flag(name: str) -> dict[str, Option]:
    return {option.flag: option for option in options.of(RUNBOOKS[name].input)}


def data(model: type[Any], **typed: Any) -> dict[str, Any]:
    return options.data(options.of(model), typed)


@pytest.mark.parametrize("name", RUNBOOKS)
def test_every_field_has_an_option_with_help_and_none_hides_one_of_the_command_s(name: str) -> None:
    known = by_flag(name)
    assert {option.path[0] for option in known.values()} == set(RUNBOOKS[name].input.model_fields)
    assert not OWN & set(known)
    assert len({option.parameter for option in known.values()}) == len(known)
    for flag, option in known.items():
        text = option.help.partition(" [")[0].removesuffix(" (mode fixed)").removesuffix(" (mode adapt)")
        assert len(text) > 5, f"{flag} has no help"


def test_what_each_kind_of_field_becomes() -> None:
    known = by_flag("Rebalance")
    assert known["--limits.moves-at-once"].path == ("limits", "moves_at_once")
    assert "[default: 100]" in known["--limits.moves-at-once"].help
    assert known["--level"].metavar == "<utilisation|used-bytes|replica-count>"
    assert known["--wait-for-approval"].declaration == "--wait-for-approval/--no-wait-for-approval"
    assert known["--topics"].is_repeated
    assert known["--change-windows"].is_repeated and known["--change-windows"].is_json
    assert by_flag("RunPlan")["--plan"].is_json
    assert "[required]" in known["--cluster"].help and "[required]" not in known["--throttle.rate-bytes-per-s"].help
    assert "mode fixed" in known["--throttle.rate-bytes-per-s"].help
    assert known["--throttle.mode"].metavar == "<fixed|adapt>"


def test_what_was_typed_becomes_the_model() -> None:
    typed = data(
        RebalanceInput,
        cluster="lab",
        requester="me",
        level="used-bytes",
        topics=["a.*", "b{1,2}"],
        limits__moves_at_once="7",
        throttle__mode="adapt",
        throttle__fetch_p99_limit_ms="null",
        wait_for_approval=False,
        change_windows=['{"start": "22:00", "end": "04:00"}', '[{"start": "05:00", "end": "06:00", "days": ["monday"]}]'],
    )
    request = validate(RebalanceInput, typed)
    assert request == RebalanceInput.model_validate(
        {
            "cluster": "lab",
            "requester": "me",
            "level": "used bytes",
            "topics": ["a.*", "b{1,2}"],
            "limits": {"moves_at_once": 7},
            "throttle": {"mode": "adapt", "fetch_p99_limit_ms": None},
            "wait_for_approval": False,
            "change_windows": [
                {"start": "22:00", "end": "04:00"},
                {"start": "05:00", "end": "06:00", "days": ["monday"]},
            ],
        }
    )
    assert request.model_fields_set == set(typed)


def test_broker_ids_are_repeated_or_a_comma_list() -> None:
    assert data(RUNBOOKS["ScaleUp"].input, brokers=["1,2", "3"]) == {"brokers": ["1", "2", "3"]}


def test_json_of_an_option_may_stand_in_a_file(tmp_path: Path) -> None:
    plan = {"version": 1, "partitions": [{"topic": "a", "partition": 0, "replicas": [1, 2]}]}
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan))
    assert data(RunPlanInput, plan=f"@{file}") == {"plan": plan}
    with pytest.raises(BadInput, match="--plan: not valid JSON"):
        data(RunPlanInput, plan="{")


def test_options_win_over_the_input_field_by_field() -> None:
    base = {"cluster": "a", "throttle": {"mode": "adapt", "floor_bytes_per_s": 1}, "topics": ["x"]}
    over = {"throttle": {"floor_bytes_per_s": "2"}, "topics": ["y"]}
    assert options.merged(base, over) == {
        "cluster": "a",
        "throttle": {"mode": "adapt", "floor_bytes_per_s": "2"},
        "topics": ["y"],
    }


@pytest.mark.parametrize(
    ("throttle", "mode"),
    [
        ({"rate_bytes_per_s": "1"}, "fixed"),
        ({"floor_bytes_per_s": "1", "source_share": "0.5"}, "adapt"),
        ({"mode": "adapt", "rate_bytes_per_s": "1"}, "adapt"),
        ({"rate": "1"}, None),
        ({}, None),
    ],
)
def test_the_mode_follows_from_the_fields_of_one_member(throttle: dict[str, str], mode: str | None) -> None:
    completed = options.with_modes(ReplaceBrokerInput, {"throttle": throttle})["throttle"]
    assert completed.get("mode") == mode
    assert {**throttle, **completed} == completed


def test_fields_of_two_members_are_refused() -> None:
    mixed = {"throttle": {"rate_bytes_per_s": "1", "floor_bytes_per_s": "1"}}
    message = "throttle: mode fixed has rate_bytes_per_s; mode adapt has floor_bytes_per_s; give the fields of one mode"
    with pytest.raises(BadInput, match=message):
        options.with_modes(ReplaceBrokerInput, mixed)
