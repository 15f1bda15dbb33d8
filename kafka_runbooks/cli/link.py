"""`link`: a signed link to the page, where whoever opens it sees what a runbook would do, and starts it."""

import json
from datetime import timedelta

from rich.text import Text

from kafka_runbooks import links
from kafka_runbooks.cli.exits import BAD_INPUT, fail
from kafka_runbooks.cli.output import console
from kafka_runbooks.cli.parameters import Format
from kafka_runbooks.links import BadKeys, LinkSettings
from kafka_runbooks.models.inputs import RunbookInput
from kafka_runbooks.runs.validation import BadInput


def link(name: str, request: RunbookInput, expires: str, output: Format) -> None:
    """Print the URL alone, so that it can be piped; what it is goes to stderr."""
    settings = LinkSettings()
    try:
        made = links.made(name, request, validity=_validity(expires))
        url = links.url(settings.page_url, links.sign(made, links.read_keys(settings.link_keys_file)))
    except (BadInput, BadKeys) as error:
        fail(BAD_INPUT, str(error))
    until = f"{made.expires:%Y-%m-%d %H:%M} UTC"
    if output is Format.JSON:
        print(json.dumps({"url": url, "workflow_id": made.workflow_id, "expires": made.expires.isoformat(timespec="seconds")}))
        return
    print(url)
    console(Format.JSON).print(Text(f"starts {made.workflow_id} once somebody presses; valid until {until}", style="dim"))


def _validity(expires: str) -> timedelta:
    try:
        return links.validity(expires)
    except BadInput as error:
        raise BadInput(f"--expires: {error}") from error
