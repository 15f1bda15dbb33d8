"""Messages to a server on loopback: what is retried, what isn't, and that the URL is nowhere in what is said."""

import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_runbooks.clients.errors import ClientError, Refused, Unreachable
from kafka_runbooks.clients.webhook import Webhook
from kafka_runbooks.models.notification import Notification
from tests.clients.local_webhook import LocalWebhook

MESSAGE = Notification(cluster="main", runbook="Rebalance", workflow_id="main/a", run_id="r", event="waits", text="main: waits")


@pytest.fixture
def server() -> Iterator[LocalWebhook]:
    with LocalWebhook() as running:
        yield running


def test_a_message_is_what_slack_takes(server: LocalWebhook, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(server.url + "\n")
    Webhook(tmp_path / "url").post(MESSAGE)
    (sent,) = server.posts
    assert sent["text"] == "main: waits" and sent["workflow_id"] == "main/a" and sent["event"] == "waits"


@pytest.mark.parametrize(
    ("status", "kind"), [(500, Unreachable), (429, Unreachable), (404, Refused), (400, Refused), (302, Refused)]
)
def test_what_it_answers_is_told_without_the_url(
    server: LocalWebhook, tmp_path: Path, status: int, kind: type[ClientError]
) -> None:
    (tmp_path / "url").write_text(server.url)
    server.answers = [status]
    with pytest.raises(kind, match=str(status)) as raised:
        Webhook(tmp_path / "url").post(MESSAGE)
    _says_nothing(raised.value)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("http://127.0.0.1:1/s3cret", Unreachable),
        ("https://[s3cret", Unreachable),
        ("s3cret", Refused),
        ("http://a/s3cret http://b/s3cret", Refused),
        ("", Refused),
    ],
)
def test_what_can_not_be_reached_is_told_without_the_url(tmp_path: Path, content: str, kind: type[ClientError]) -> None:
    (tmp_path / "url").write_text(content)
    with pytest.raises(kind) as raised:
        Webhook(tmp_path / "url").post(MESSAGE)
    _says_nothing(raised.value)


def test_a_file_that_is_not_there_yet_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="can't be read"):
        Webhook(tmp_path / "url").post(MESSAGE)


def _says_nothing(error: BaseException) -> None:
    """Nor do its causes: Temporal keeps them in the history."""
    assert "s3cret" not in "".join(traceback.format_exception(error))
