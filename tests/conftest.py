"""How `make test` spreads the tests over the machine's two cores (pytest-xdist).

A file's tests stay together: they share its fixtures. Those that start brokers of their own follow each other, for the machine's
memory and for Maven and apt, which are asked once. Those on the lab come last, all in one process: there is one lab.
"""

import pytest


def group(item: pytest.Item) -> str:
    """The name of what must run in one process and in order."""
    name = item.path.name
    if item.path.parent.name == "lab":
        return "lab"
    if item.path.parent.name in ("agent", "clients") or name.endswith("on_kafka.py"):
        return "brokers"
    return name


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: group(item) == "lab")
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
