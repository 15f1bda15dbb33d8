from tests.workflows.conftest import in_a_hurry, runbooks, server, world

__all__ = ["in_a_hurry", "runbooks", "server", "world"]
