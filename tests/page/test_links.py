"""Links: what is signed can't be changed, ends, and survives a rotation of keys; and the command that prints them."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from kafka_runbooks import links
from kafka_runbooks.cli.app import app
from kafka_runbooks.links import BadKeys, BadLink, Expired, Link
from kafka_runbooks.models.inputs import ReplaceBrokerInput
from kafka_runbooks.runs.validation import BadInput

OLD, NEW = "old" * 16, "new" * 16
NOW = datetime(2026, 3, 1, 3, 5, 12, tzinfo=UTC)


def link(cluster: str = "lab", broker_id: int = 1002) -> Link:
    request = ReplaceBrokerInput.model_validate({"cluster": cluster, "requester": "alice", "broker_id": broker_id})
    return links.made("ReplaceBroker", request, validity=timedelta(hours=4), now=NOW)


def test_a_link_comes_back_as_it_was_made_and_whoever_presses_is_the_requester() -> None:
    found = links.read(links.sign(link(), [NEW]), [NEW], NOW)
    assert found == link()
    assert found.made_by == "alice" and "requester" not in found.input
    request = found.request("bob")
    assert isinstance(request, ReplaceBrokerInput)
    assert (request.requester, request.cluster, request.broker_ids) == ("bob", "lab", (1002,))
    assert found.workflow_id == "lab/replace-broker/1002-20260301T030512Z"


def test_a_link_ends() -> None:
    token = links.sign(link(), [NEW])
    links.read(token, [NEW], NOW + timedelta(hours=4, seconds=-1))
    with pytest.raises(Expired, match="2026-03-01 07:05 UTC"):
        links.read(token, [NEW], NOW + timedelta(hours=4))


def test_keys_rotate() -> None:
    before = links.sign(link(), [OLD])
    during = links.sign(link(), [NEW, OLD])
    assert links.read(before, [NEW, OLD], NOW) == links.read(during, [NEW, OLD], NOW) == link()
    assert links.read(during, [NEW], NOW) == link()
    with pytest.raises(BadLink):
        links.read(before, [NEW], NOW)


def test_a_link_for_one_cluster_is_none_for_another() -> None:
    """The payload of one with the signature of the other, and a payload edited by hand."""
    mine, other = links.sign(link("lab"), [NEW]), links.sign(link("production"), [NEW])
    with pytest.raises(BadLink):
        links.read(f"{other.rpartition('.')[0]}.{mine.rpartition('.')[2]}", [NEW], NOW)
    edited = link("lab").model_dump_json().replace("lab", "production").encode()
    with pytest.raises(BadLink):
        links.read(f"{base64.urlsafe_b64encode(edited).decode().rstrip('=')}.{mine.rpartition('.')[2]}", [NEW], NOW)


TOKEN = links.sign(link(), [NEW])


@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="ascii"))
def test_no_character_can_be_changed(place: int, character: str) -> None:
    changed = TOKEN[:place] + character + TOKEN[place + 1 :]
    if changed == TOKEN:
        return
    try:
        found = links.read(changed, [NEW], NOW)
    except BadLink:
        return
    # base64 has bits to spare at its end: another spelling of the same signature.
    assert found == link() and place == len(TOKEN) - 1


@given(st.text(max_size=200))
def test_anything_else_is_no_link(text: str) -> None:
    with pytest.raises(BadLink):
        links.read(text, [NEW], NOW)


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "LINK_KEYS_FILE"), ("", "has no key"), ("# only a comment\n", "has no key"), (f"{NEW}\nshort\n", "line 2")],
)
def test_keys_that_cannot_be_used_are_refused_without_being_shown(tmp_path: Path, text: str | None, says: str) -> None:
    file = None if text is None else tmp_path / "keys"
    if file is not None:
        file.write_text(str(text))
    with pytest.raises(BadKeys, match=says) as raised:
        links.read_keys(file)
    assert "short" not in str(raised.value) and NEW not in str(raised.value)


def test_a_file_of_keys(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# since March\n{NEW}\n\n{OLD}\n")
    assert links.read_keys(tmp_path / "keys") == (NEW, OLD)


@pytest.mark.parametrize(("text", "hours"), [("30m", 0.5), ("4h", 4), ("2d", 48), ("7d", 168)])
def test_how_long(text: str, hours: float) -> None:
    assert links.validity(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "4", "0h", "-1h", "8d", "4h30m", "forever", "999999999h"])
def test_not_how_long(text: str) -> None:
    with pytest.raises(BadInput):
        links.validity(text)


def run(tmp_path: Path, *argv: str, url: str = "https://runbooks.example.org/") -> tuple[int, str, str]:
    (tmp_path / "keys").write_text(NEW)
    environment = {"KAFKA_RUNBOOKS_LINK_KEYS_FILE": str(tmp_path / "keys"), "KAFKA_RUNBOOKS_PAGE_URL": url}
    done = CliRunner().invoke(app, ["link", *argv], env={**environment, "TEMPORAL_ADDRESS": "127.0.0.1:1"})
    return done.exit_code, done.stdout, done.stderr


LINK = ("replace-broker", "--cluster", "lab", "--broker-id", "1002")


def test_the_command_prints_the_url_alone(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, *LINK, "--expires", "30m", "--requester", "alice")
    assert code == 0 and err.startswith("starts lab/replace-broker/1002-")
    assert out.startswith("https://runbooks.example.org/links/") and out.count("\n") == 1
    found = links.read(out.strip().rpartition("/")[2], [NEW])
    assert (found.runbook, found.made_by) == ("ReplaceBroker", "alice")
    assert found.input == {"cluster": "lab", "broker_ids": [1002]}
    assert found.expires - found.at == timedelta(minutes=30)


def test_the_command_as_json(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, *LINK, "-o", "json")
    shown = json.loads(out)
    assert code == 0
    assert links.read(shown["url"].rpartition("/")[2], [NEW]).workflow_id == shown["workflow_id"]


@pytest.mark.parametrize(
    ("argv", "url", "says"),
    [
        (LINK[:3], "https://a", "exactly one of broker_ids, nodes and zone"),
        ((*LINK, "--expires", "8d"), "https://a", "--expires: 8d is too long"),
        ((*LINK, "--expires", "tomorrow"), "https://a", "--expires: 'tomorrow'"),
        (LINK, "runbooks.example.org", "KAFKA_RUNBOOKS_PAGE_URL"),
        (("run-plan", "--cluster", "lab", "--input", "@long.json"), "https://a", "too long for a link"),
    ],
)
def test_the_command_refuses_as_start_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], url: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    topics = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(300)]
    partitions = [{"topic": topic, "partition": 0, "replicas": [1]} for topic in topics]
    (tmp_path / "long.json").write_text(json.dumps({"plan": {"version": 1, "partitions": partitions}}))
    code, out, err = run(tmp_path, *argv, url=url)
    assert (code, out) == (2, "")
    assert says in err
