"""The page's settings, from environment variables `KAFKA_RUNBOOKS_*`; Temporal's own are those of the `temporal` command."""

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import field_validator, model_validator

from kafka_runbooks.links import LinkSettings
from kafka_runbooks.temporal import TemporalSettings


class BadSettings(Exception):
    """The page can't be served; the message says what to set."""


class PageSettings(TemporalSettings, LinkSettings):
    """Each field is `KAFKA_RUNBOOKS_<FIELD>`. Secrets are files, so that they can be mounted and rotated."""

    page_url: str
    """Where people reach the page. Its forms are taken from there only."""
    link_keys_file: Path
    page_address: str = "0.0.0.0"
    page_port: int = 8080
    page_clusters: dict[str, str] | None = None
    """JSON: the clusters that this page is for, each with its workers' task queue. Default: all, on `task_queue`."""

    proxy_secret_file: Path | None = None
    """What the proxy proves itself by, in the header `X-Proxy-Secret`. It must remove both headers from what it is sent."""
    proxy_user_header: str = "X-Forwarded-User"

    oidc_issuer: str | None = None
    oidc_client_id: str | None = None
    oidc_client_secret_file: Path | None = None
    oidc_claim: str = "email"
    """The claim that says who it is."""

    webhook_token_file: Path | None = None
    """What Alertmanager and PagerDuty send as `Authorization: Bearer`. Without it there are no webhooks."""
    slack_signing_secret_file: Path | None = None
    webhook_post_url_file: Path | None = None
    """The URL that links are posted to, as a Slack incoming webhook takes them."""
    webhook_link_validity: str = "4h"

    @field_validator("page_url")
    @classmethod
    def _is_url(cls, page_url: str) -> str:
        parts = urlsplit(page_url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.rstrip("/"):
            raise ValueError("give scheme and host, such as https://runbooks.example.org")
        return f"{parts.scheme}://{parts.netloc}"

    @model_validator(mode="after")
    def _identity(self) -> Self:
        if (self.proxy_secret_file is None) == (self.oidc_issuer is None):
            raise ValueError("set exactly one of KAFKA_RUNBOOKS_PROXY_SECRET_FILE and KAFKA_RUNBOOKS_OIDC_ISSUER: who presses?")
        if self.oidc_issuer is not None and (self.oidc_client_id is None or self.oidc_client_secret_file is None):
            raise ValueError("KAFKA_RUNBOOKS_OIDC_ISSUER also needs _OIDC_CLIENT_ID and _OIDC_CLIENT_SECRET_FILE")
        hooks = self.webhook_token_file is not None or self.slack_signing_secret_file is not None
        if hooks and self.webhook_post_url_file is None:
            raise ValueError("a webhook also needs KAFKA_RUNBOOKS_WEBHOOK_POST_URL_FILE: where are links posted?")
        return self

    def queue(self, cluster: str) -> str | None:
        """The task queue of a cluster's workers; None if the page is for other clusters."""
        return self.task_queue if self.page_clusters is None else self.page_clusters.get(cluster)


def secret(file: Path) -> str:
    """A secret, read anew each time so that it can be rotated.

    Raises:
        BadSettings: it can't be read, or is empty.
    """
    try:
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"can't read {file}: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}") from error
    if not text:
        raise BadSettings(f"{file} is empty")
    return text
