"""Logging in at an OIDC provider. The page keeps who it was in a signed cookie; tokens of the provider are not kept."""

import hashlib
import hmac
from typing import Any

import httpx2
from authlib.integrations.starlette_client import OAuth, OAuthError
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from joserfc.errors import JoseError

from kafka_runbooks.page import audit
from kafka_runbooks.page.identity import SESSION_USER, Person, Unknown, checked
from kafka_runbooks.page.settings import PageSettings, secret

NO_ANSWER = "the identity provider doesn't answer; the `kafka-runbooks` command needs none"
SESSION_SECONDS = 12 * 3600
_BACK = "back"


def session_secret(keys: tuple[str, ...]) -> str:
    """What signs the cookie: of its own, so that nothing else that the keys sign passes for one."""
    return hmac.digest(keys[0].encode(), b"kafka-runbooks/session", hashlib.sha256).hex()


def local(path: str) -> str:
    """A path of this page; anything that could lead elsewhere becomes `/`."""
    is_local = path.startswith("/") and not path.startswith(("//", "/\\")) and not any(ord(one) < 33 for one in path)
    return path if is_local and "\\" not in path else "/"


def router(settings: PageSettings, **client_arguments: Any) -> APIRouter:
    """`/login`, and where the provider sends people back to."""
    assert settings.oidc_issuer is not None and settings.oidc_client_secret_file is not None
    routes, oauth = APIRouter(include_in_schema=False), OAuth()
    oauth.register(
        "provider",
        server_metadata_url=f"{settings.oidc_issuer.rstrip('/')}/.well-known/openid-configuration",
        client_id=settings.oidc_client_id,
        client_secret=secret(settings.oidc_client_secret_file),
        client_kwargs={"scope": "openid email profile", "code_challenge_method": "S256", **client_arguments},
    )
    provider = oauth.create_client("provider")

    @routes.get("/login")
    async def login(request: Request, then: str = "/") -> Response:
        request.session[_BACK] = local(then)
        try:
            response: Response = await provider.authorize_redirect(request, f"{settings.page_url}/login/back")
        except httpx2.HTTPError as error:
            raise Unknown(NO_ANSWER) from error
        return response

    @routes.get("/login/back")
    async def back(request: Request) -> Response:
        then = local(request.session.get(_BACK, "/"))
        try:
            token = await provider.authorize_access_token(request)
        except httpx2.HTTPError as error:
            raise Unknown(NO_ANSWER) from error
        except (OAuthError, JoseError) as error:
            request.session.clear()
            audit.refused("login", reason=str(error))
            raise Unknown("the identity provider didn't confirm who you are") from error
        claims = token.get("userinfo") or {}
        if settings.oidc_claim == "email" and claims.get("email_verified") is False:
            raise Unknown("the identity provider hasn't verified your address")
        request.session.clear()
        request.session[SESSION_USER] = checked(str(claims.get(settings.oidc_claim, "")))
        audit.view(Person(request.session[SESSION_USER]), "login")
        return RedirectResponse(then, 303)

    return routes
