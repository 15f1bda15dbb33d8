"""The application: routes, identity, and what people read when something is wrong."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.sessions import SessionMiddleware

from kafka_runbooks import links
from kafka_runbooks.links import BadKeys, BadLink, Expired
from kafka_runbooks.page import audit, hooks, link_routes, oidc, rendering, run_routes
from kafka_runbooks.page.hooks import Turned
from kafka_runbooks.page.identity import Identity, ProxyIdentity, SessionIdentity, Unknown
from kafka_runbooks.page.link_routes import OtherCluster
from kafka_runbooks.page.protection import Forged, SafeHeaders, ShortBodies
from kafka_runbooks.page.run_routes import NoSuchRun
from kafka_runbooks.page.settings import BadSettings, PageSettings
from kafka_runbooks.page.state import Page
from kafka_runbooks.page.temporal import Temporal, TemporalAway
from kafka_runbooks.runs.validation import BadInput

RETRY_SECONDS = 5
log = structlog.get_logger()

Handler = Callable[[Request, Any], Awaitable[Response]]


def create(settings: PageSettings, temporal: Temporal | None = None, **oidc_arguments: Any) -> FastAPI:
    """The page.

    Args:
        settings: its settings.
        temporal: the connection; default: as the `temporal` command has it.
        oidc_arguments: for the HTTP client that talks to the identity provider.

    Raises:
        BadKeys: links can't be signed.
        BadSettings: a secret can't be read.
    """
    keys = links.read_keys(settings.link_keys_file)
    app = FastAPI(title="kafka-runbooks", openapi_url=None, docs_url=None, redoc_url=None, responses=_ANSWERS)
    app.state.page = Page(settings, temporal or Temporal())
    app.state.identity = _identity(settings)
    if settings.oidc_issuer is not None:
        is_https = urlsplit(settings.page_url).scheme == "https"
        app.add_middleware(
            SessionMiddleware,
            secret_key=oidc.session_secret(keys),
            session_cookie="kafka-runbooks",
            max_age=oidc.SESSION_SECONDS,
            same_site="lax",
            https_only=is_https,
        )
        app.include_router(oidc.router(settings, **oidc_arguments))
    app.add_middleware(ShortBodies)
    app.add_middleware(SafeHeaders)
    app.include_router(link_routes.router)
    app.include_router(run_routes.router)
    app.include_router(hooks.router)
    app.mount("/static", StaticFiles(directory=rendering.FOLDER / "static"), name="static")

    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Whether the page serves. Temporal may be away: the page says so, and a restart wouldn't help."""
        return "ok"

    for error, handler in _HANDLERS.items():
        app.add_exception_handler(error, handler)
    return app


def _identity(settings: PageSettings) -> Identity:
    return SessionIdentity() if settings.oidc_issuer is not None else ProxyIdentity(settings)


_ANSWERS: dict[int | str, dict[str, Any]] = {
    401: {"description": "nobody has said who you are"},
    403: {"description": "a form that this page hasn't made, or a link that it hasn't signed"},
    404: {"description": "there is no such thing here"},
    409: {"description": "the run refuses that now"},
    410: {"description": "the link has expired"},
    413: {"description": "too long"},
    422: {"description": "a field is wrong"},
    502: {"description": "the link couldn't be posted"},
    503: {"description": "Temporal doesn't answer"},
}


async def _unknown(request: Request, error: Unknown) -> Response:
    audit.refused(request.method, reason=str(error), path=request.url.path.partition("/links/")[0] or "/links/…")
    identity: Identity = request.app.state.identity
    if identity.can_log_in and request.method == "GET" and not request.url.path.startswith("/login"):
        then = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?{urlencode({'then': then})}", 303)
    advice = "Open the page through the address that you were given. A link alone doesn't say who you are."
    return rendering.problem(request, 401, "Who are you?", str(error), advice=advice)


async def _forged(request: Request, error: Forged) -> Response:
    audit.refused(request.method, reason=str(error))
    return rendering.problem(request, 403, "Nothing was done", str(error), advice="Go back, load the page again, and press.")


async def _bad_link(request: Request, error: BadLink) -> Response:
    audit.refused("link", reason=str(error))
    advice = "Nothing was done. Make a new one with `kafka-runbooks link`, or take the newest from the alert."
    if isinstance(error, Expired):
        return rendering.problem(request, 410, "This link is over", str(error), advice=advice)
    title = "Another cluster" if isinstance(error, OtherCluster) else "Not one of our links"
    return rendering.problem(request, 403, title, str(error), advice=advice)


async def _away(request: Request, error: TemporalAway) -> Response:
    log.warning("Temporal is away", reason=str(error))
    again = (
        "This page tries again by itself."
        if request.method == "GET"
        else "Go back and press again once it answers: if this press has arrived, the second one lands on the same run."
    )
    return rendering.problem(
        request,
        503,
        "Temporal doesn't answer",
        "Runs in progress are safe: their steps go on, and the runs continue when Temporal is back.",
        advice=again,
        retry_seconds=RETRY_SECONDS,
    )


async def _none(request: Request, error: NoSuchRun) -> Response:
    return rendering.problem(request, 404, "No such run", str(error), advice="The list has the latest ones.")


async def _bad_input(request: Request, error: BadInput) -> Response:
    return rendering.problem(request, 422, "This can't be started", str(error))


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    faults = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
    return rendering.problem(request, 422, "Something is missing or wrong", faults)


async def _not_set_up(request: Request, error: BadKeys | BadSettings) -> Response:
    log.error("a secret can't be read", reason=str(error))
    return rendering.problem(
        request, 500, "The page isn't set up", "A file with keys or secrets can't be read; its log has which."
    )


async def _turned(request: Request, error: Turned) -> Response:
    audit.refused(request.url.path, reason=str(error))
    return JSONResponse({"error": str(error)}, error.status)


async def _http(request: Request, error: HTTPException) -> Response:
    response = rendering.problem(request, error.status_code, "Not here", str(error.detail))
    response.headers.update(error.headers or {})
    return response


async def _defect(request: Request, error: Exception) -> Response:
    log.error("a defect of the page", path=request.url.path.partition("/links/")[0], exc_info=error)
    return rendering.problem(
        request, 500, "The page has a defect", "Its log says more. The `kafka-runbooks` command does the same."
    )


_HANDLERS: dict[type[Exception], Handler] = {
    Unknown: _unknown,
    Forged: _forged,
    BadLink: _bad_link,
    TemporalAway: _away,
    NoSuchRun: _none,
    BadInput: _bad_input,
    RequestValidationError: _invalid,
    BadKeys: _not_set_up,
    BadSettings: _not_set_up,
    Turned: _turned,
    HTTPException: _http,
    Exception: _defect,
}
