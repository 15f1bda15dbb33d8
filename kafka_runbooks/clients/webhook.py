"""Messages to people: one POST to a webhook, in the form that Slack takes and others read too.

The URL is the secret (whoever has it can post), so it is read from a file and is in no message, log or exception.
"""

from pathlib import Path

import httpx

from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.models.notification import Notification

TIMEOUT_SECONDS = 10.0


class Webhook:
    """Posts to the URL in a file, which is read each time: it may be a mounted Secret that rotates."""

    def __init__(self, url_file: Path) -> None:
        self._url_file = url_file

    def post(self, message: Notification) -> None:
        """Send one message.

        Raises:
            Unreachable: no answer, a fault of the server, a rate limit, or the file can't be read just now.
            Refused: the server rejects it, or the file holds no URL.
        """
        try:
            lines = self._url_file.read_text().split()
        except (OSError, UnicodeDecodeError) as error:
            raise Unreachable(f"webhook: {self._url_file} can't be read: {type(error).__name__}") from None
        if len(lines) != 1 or not lines[0].startswith(("https://", "http://")):
            raise Refused(f"webhook: {self._url_file} doesn't hold one URL")
        try:
            answer = httpx.post(lines[0], json=message.model_dump(), timeout=TIMEOUT_SECONDS, follow_redirects=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:  # Their texts may have the URL.
            raise Unreachable(f"webhook: no answer: {type(error).__name__}") from None
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
            raise Unreachable(f"webhook: the server answers {answer.status_code}")
        if not answer.is_success:
            raise Refused(f"webhook: the server answers {answer.status_code}")
