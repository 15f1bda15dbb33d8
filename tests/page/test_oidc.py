"""Logging in at an OIDC provider: what it confirms is who presses, and nothing else gets in."""

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import httpx2
import pytest
from fastapi import FastAPI, Request
from jwcrypto import jwk, jwt

from kafka_runbooks.page import app
from kafka_runbooks.page.oidc import local
from kafka_runbooks.page.temporal import Temporal
from tests.page.conftest import URL, link, settings, token

ISSUER = "https://id.example.org"


class Provider:
    """An identity provider, whose answers can be wrong."""

    def __init__(self) -> None:
        self.key = jwk.JWK.generate(kty="RSA", size=2048, kid="1")
        self.signs_with = self.key
        self.nonce = ""
        self.claims: dict[str, Any] = {"email": "alice@example.org", "email_verified": True}
        self.asked: dict[str, list[str]] = {}
        self.app = FastAPI()

        @self.app.get("/.well-known/openid-configuration")
        async def metadata() -> dict[str, Any]:
            return {
                "issuer": ISSUER,
                "authorization_endpoint": f"{ISSUER}/authorize",
                "token_endpoint": f"{ISSUER}/token",
                "jwks_uri": f"{ISSUER}/keys",
                "id_token_signing_alg_values_supported": ["RS256"],
            }

        @self.app.get("/keys")
        async def keys() -> dict[str, Any]:
            return {"keys": [json.loads(self.key.export_public())]}

        @self.app.post("/token")
        async def give(request: Request) -> dict[str, Any]:
            self.asked = parse_qs((await request.body()).decode())
            now = int(time.time())
            claims = {"iss": ISSUER, "aud": "page", "sub": "1", "iat": now, "exp": now + 60, "nonce": self.nonce, **self.claims}
            signed = jwt.JWT(header={"alg": "RS256", "kid": "1"}, claims=claims)
            signed.make_signed_token(self.signs_with)
            return {"access_token": "x", "token_type": "Bearer", "id_token": signed.serialize()}


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def browser(tmp_path: Path, provider: Provider) -> httpx.AsyncClient:
    (tmp_path / "client").write_text("client secret")

    async def refuse() -> Any:
        raise RuntimeError("no route")

    made = app.create(
        settings(
            tmp_path,
            proxy_secret_file=None,
            oidc_issuer=ISSUER,
            oidc_client_id="page",
            oidc_client_secret_file=tmp_path / "client",
        ),
        Temporal(refuse),
        transport=httpx2.ASGITransport(app=provider.app),
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(made, raise_app_exceptions=False), base_url=URL)


async def log_in(browser: httpx.AsyncClient, provider: Provider, path: str = "/", **changed: str) -> httpx.Response:
    """From a page to the provider and back; what the provider sends back can be changed."""
    asked = await browser.get(path)
    sent = await browser.get(asked.headers["location"])
    assert sent.headers["location"].startswith(f"{ISSUER}/authorize?")
    query = {name: values[0] for name, values in parse_qs(urlsplit(sent.headers["location"]).query).items()}
    assert query["redirect_uri"] == f"{URL}/login/back" and query["code_challenge_method"] == "S256"
    provider.nonce = query["nonce"]
    return await browser.get("/login/back", params={"code": "c", "state": query["state"], **changed})


async def test_who_logs_in_is_who_presses(browser: httpx.AsyncClient, provider: Provider) -> None:
    path = f"/links/{token(link('lab'))}"
    back = await log_in(browser, provider, path)
    assert (back.status_code, back.headers["location"]) == (303, path)
    assert provider.asked["code_verifier"] and "secret" not in str(back.headers)
    cookie = back.headers["set-cookie"].lower()
    assert "httponly" in cookie and "secure" in cookie and "samesite=lax" in cookie
    assert (await browser.get(path)).status_code == 503  # known, and Temporal is away
    assert (await browser.get("/", headers={"X-Forwarded-User": "root"})).status_code == 503


@pytest.mark.parametrize("wrong", ["state", "nonce", "key", "audience", "issuer", "unverified", "no name", "expired"])
async def test_what_the_provider_does_not_confirm_gets_nobody_in(
    browser: httpx.AsyncClient, provider: Provider, wrong: str
) -> None:
    if wrong == "key":
        provider.signs_with = jwk.JWK.generate(kty="RSA", size=2048, kid="1")
    claims: dict[str, dict[str, Any]] = {
        "nonce": {"nonce": "another"},
        "audience": {"aud": "another"},
        "issuer": {"iss": "https://evil.example.org"},
        "unverified": {"email_verified": False},
        "no name": {"email": ""},
        "expired": {"exp": int(time.time()) - 600},
    }
    provider.claims |= claims.get(wrong, {})
    back = await log_in(browser, provider, **({"state": "another"} if wrong == "state" else {}))
    assert back.status_code == 401, wrong
    assert (await browser.get("/")).headers["location"].startswith("/login")


async def test_a_provider_that_does_not_answer(browser: httpx.AsyncClient, provider: Provider, tmp_path: Path) -> None:
    provider.app.router.routes.clear()
    assert (await browser.get("/login")).status_code == 401


async def test_a_press_by_nobody_is_not_sent_to_log_in(browser: httpx.AsyncClient) -> None:
    assert (await browser.post(f"/links/{token(link('lab'))}", data={"form_token": "x"})).status_code == 401
    browser.cookies.set("kafka-runbooks", "eyJ1c2VyIjogInJvb3QifQ==.aaaa.bbbb")
    assert (await browser.get("/")).status_code == 303


@pytest.mark.parametrize(
    "path", ["//evil.example.org", "/\\evil.example.org", "https://evil.example.org", "", "/a\n", "\\\\evil", "/\t/e"]
)
def test_nobody_is_sent_elsewhere(path: str) -> None:
    assert local(path) == "/"
    assert local("/runs/lab/a?b=c") == "/runs/lab/a?b=c"
