"""The file's faults, each with its line, and nothing asked of a server."""

from pathlib import Path

import pytest

from kafka_runbooks.runs.validation import BadInput
from kafka_runbooks.schedules.file import read
from tests.schedules.test_applying import EXAMPLE


def test_the_example_is_right_and_gives_way() -> None:
    file = read(EXAMPLE)
    asked = {name: entry.request.model_dump() for name, entry in file.schedules.items()}
    assert asked["lab/balance"]["when_busy"] == asked["lab/clear-leftovers"]["when_busy"] == "skip"
    assert asked["lab/balance"]["wait_for_approval"] and asked["lab/balance"]["requester"] == "schedule"


RIGHT = """owner: platform
schedules:
  lab/balance:
    runbook: rebalance
    input: {cluster: lab}
    cron: 0 7 * * *
"""


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("0 7 * * *", "0 25 * * *"), ":6: schedules.lab/balance.cron: hour '25'"),
        (("cron: 0 7 * * *", "every: often"), ":6: schedules.lab/balance.every: 'often' is no duration"),
        (("rebalance", "rebalanse"), ":4: schedules.lab/balance.runbook: 'rebalanse' is not known"),
        (("    input: {cluster: lab}\n", ""), ":3: schedules.lab/balance.input: is missing"),
        (("{cluster: lab}", "{cluster: lab, maps: 3}"), ":5: schedules.lab/balance.input.maps: no such field"),
        (("    cron: 0 7 * * *\n", ""), ":3: schedules.lab/balance: give cron or every"),
        (("cron:", "timezone: Europe/Pari\n    cron:"), ":6: schedules.lab/balance.timezone: 'Europe/Pari' is not known"),
        (("cron:", "crom: x\n    cron:"), ":6: schedules.lab/balance.crom: no such field"),
        (("cron:", "window: {start: '06:00', end: '07:00', timezone: Europe/Paris}\n    cron:"), "give the same for both"),
        (("owner: platform\n", ""), ":1: owner: is missing"),
        (("owner: platform", "owner: ["), "isn't YAML"),
    ],
)
def test_a_fault_has_its_line(tmp_path: Path, change: tuple[str, str], fault: str) -> None:
    file = tmp_path / "schedules.yaml"
    assert change[0] in RIGHT
    file.write_text(RIGHT.replace(*change))
    with pytest.raises(BadInput) as raised:
        read(file)
    assert fault in str(raised.value) and str(raised.value).startswith(str(file)), raised.value
