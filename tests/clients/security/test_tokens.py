"""Tokens: kept while they are good, also while the endpoint is away; and what an endpoint may answer."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kafka_runbooks.clients.errors import ClientError, Refused, Unreachable
from kafka_runbooks.clients.security import tokens
from kafka_runbooks.clients.security.settings import OAuthSasl
from kafka_runbooks.clients.security.tokens import TokenSource
from tests.clients.security.certificates import written
from tests.clients.security.token_endpoint import TokenEndpoint, token_endpoint


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with token_endpoint() as running:
        yield running


def source(endpoint: TokenEndpoint, folder: Path, **more: Any) -> TokenSource:
    fields = {
        "mechanism": "OAUTHBEARER",
        "token_endpoint_url": endpoint.url,
        "client_id": endpoint.client_id,
        "client_secret_file": written(folder / "secret", endpoint.secret),
        **more,
    }
    return TokenSource(OAuthSasl.model_validate(fields))


def test_one_token_serves_until_four_fifths_of_its_life(
    endpoint: TokenEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = source(endpoint, tmp_path, scope="kafka")
    first = found.token()
    assert (found.token(), found.for_librdkafka(None)[0], len(endpoint.asked)) == (first, first, 1)
    assert endpoint.asked == [{"grant_type": ["client_credentials"], "scope": ["kafka"]}]
    assert 290 < found.for_librdkafka(None)[1] - time.time() <= 300
    monkeypatch.setattr(tokens, "USED_FOR", 0.0)
    other = source(endpoint, tmp_path)
    for _ in range(2):
        other.token()
    assert len(endpoint.asked) == 3


def test_a_token_that_is_still_good_is_used_while_the_endpoint_is_away(
    endpoint: TokenEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "USED_FOR", 0.0)
    found = source(endpoint, tmp_path)
    first = found.token()

    def away(*_: Any, **__: Any) -> httpx.Response:
        raise httpx.ConnectError("away")

    monkeypatch.setattr(httpx, "post", away)
    assert found.token() == first
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 301)
    with pytest.raises(Unreachable, match="doesn't answer: away"):
        found.token()


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (
            400,
            '{"error": "invalid_scope"}',
            Refused,
            r"status 400 \(invalid_scope\): check client_id, client_secret_file and scope",
        ),
        (401, "XYZZY", Refused, "status 401: check"),
        (401, '{"error": "not a code, XYZZY"}', Refused, "status 401: check"),
        (429, "", Unreachable, "answers with status 429"),
        (503, "", Unreachable, "answers with status 503"),
        (200, "<html>", Unreachable, "answers without a token: is this its address"),
        (200, "[]", Unreachable, "answers without a token"),
        (200, '{"access_token": "XYZZY", "expires_in": "soon"}', Unreachable, "answers without a token"),
    ],
)
def test_what_it_answers(
    endpoint: TokenEndpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: str,
    kind: type[ClientError],
    words: str,
) -> None:
    monkeypatch.setattr(httpx, "post", lambda *_, **__: httpx.Response(status, content=body))
    with pytest.raises(kind, match=words) as raised:
        source(endpoint, tmp_path).token()
    assert "XYZZY" not in str(raised.value)


def test_a_token_without_an_end_counts_for_a_minute(
    endpoint: TokenEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpx, "post", lambda *_, **__: httpx.Response(200, content=json.dumps({"access_token": "a"})))
    token, ends_at = source(endpoint, tmp_path).for_librdkafka(None)
    assert token == "a" and 55 < ends_at - time.time() <= 60
