"""What every route has at hand."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from kafka_runbooks import links
from kafka_runbooks.page.settings import PageSettings
from kafka_runbooks.page.temporal import Temporal


@dataclass(frozen=True)
class Page:
    """The settings, and the connection to Temporal."""

    settings: PageSettings
    temporal: Temporal

    def keys(self) -> tuple[str, ...]:
        """Read anew each time, so that a rotation needs no restart."""
        return links.read_keys(self.settings.link_keys_file)


def _page(request: Request) -> Page:
    page: Page = request.app.state.page
    return page


ThisPage = Annotated[Page, Depends(_page)]
