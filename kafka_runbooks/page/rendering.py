"""Templates, and the words in them. Every value is escaped; nothing is ever marked as safe."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from jinja2 import StrictUndefined

from kafka_runbooks.catalogue import RUNBOOKS, command_name
from kafka_runbooks.models.wording import duration, size
from kafka_runbooks.runs.waits import ago


def in_words(value: Any) -> str:
    """A field of an input as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(in_words, value))
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {in_words(one)}" for name, one in value.items())
    return str(value)


FOLDER = Path(__file__).parent
templates = Jinja2Templates(FOLDER / "templates")
templates.env.undefined = StrictUndefined
templates.env.trim_blocks = templates.env.lstrip_blocks = True
templates.env.filters |= {
    "size": size,
    "duration": duration,
    "ago": ago,
    "command": command_name,
    "path": lambda text: quote(text, safe="/"),
    "time": lambda at: f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
    "capitalize_first": lambda text: text[:1].upper() + text[1:],
    "value": in_words,
}
templates.env.globals |= {"RUNBOOKS": RUNBOOKS}


def page(request: Request, template: str, status_code: int = 200, **context: Any) -> HTMLResponse:
    """A page of the template."""
    context |= {"now": datetime.now(UTC)}
    return templates.TemplateResponse(request, template, context, status_code=status_code)


def problem(
    request: Request, status_code: int, title: str, message: str, *, advice: str = "", retry_seconds: int | None = None
) -> HTMLResponse:
    """What went wrong, in words; a GET tries again by itself where that may help."""
    retries = retry_seconds if request.method == "GET" else None
    context = {"title": title, "message": message, "advice": advice, "retry_seconds": retries}
    response = page(request, "problem.html", status_code, **context)
    if retry_seconds is not None:
        response.headers["Retry-After"] = str(retry_seconds)
    return response
