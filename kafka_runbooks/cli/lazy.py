"""A command that imports its module when it is invoked or completed, not when it is listed.

Temporal's SDK, pydantic's models and numpy take seconds to import; help and completion need none of them.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand
from typer.main import get_group

if TYPE_CHECKING:
    from typer._click import Command, Context


class LazyCommand(TyperCommand):
    """Stands for a command in its group: has its name and summary, and loads it when it is parsed."""

    def __init__(self, name: str, summary: str, load: "Callable[[], Command]", *, hidden: bool = False) -> None:
        super().__init__(name, help=summary, short_help=summary, hidden=hidden)
        self.load = load

    def make_context(self, info_name: str | None, args: list[str], parent: "Context | None" = None, **extra: Any) -> "Context":
        """The context of the real command, which goes on from here."""
        return self.load().make_context(info_name, args, parent=parent, **extra)


def from_module(module: str, name: str) -> "Callable[[], Command]":
    """A loader of the command `name` of `module.app`, or of the whole `app` if it is a group of that name."""

    def load() -> "Command":
        group = get_group(import_module(module).app)
        return group.commands.get(name, group)

    return load
