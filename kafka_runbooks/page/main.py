"""`kafka-runbooks-page`: serve the page, until SIGTERM."""

import logging
import os
import signal
import sys
from typing import NoReturn

import structlog
import uvicorn
from pydantic import ValidationError

from kafka_runbooks.links import BadKeys
from kafka_runbooks.page import app
from kafka_runbooks.page.settings import BadSettings, PageSettings

BAD_SETTINGS = 2


def main() -> NoReturn:
    """Serve; bad settings end it at once with one line for each."""
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(processors=[*processors, structlog.processors.JSONRenderer()])
    logging.basicConfig(level=logging.WARNING)
    try:
        settings = PageSettings()
        page = app.create(settings)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False):
            field = "_".join(str(part) for part in fault["loc"]).upper().removeprefix("KAFKA_RUNBOOKS_")
            name = f"KAFKA_RUNBOOKS_{field}: " if field else ""
            print(f"error: {name}{fault['msg'].removeprefix('Value error, ')}", file=sys.stderr)
        sys.exit(BAD_SETTINGS)
    except (BadKeys, BadSettings) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(BAD_SETTINGS)
    # uvicorn sends itself the signal again once it has ended what it was doing. The SDK's threads can abort an interpreter that
    # exits in order (sdk-python issue 300).
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    # Lines of access would have links in them; the audit lines say who has seen what.
    uvicorn.run(page, host=settings.page_address, port=settings.page_port, access_log=False, server_header=False)
    sys.exit(0)


if __name__ == "__main__":
    main()
