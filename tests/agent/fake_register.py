"""The register as an agent's watches write into it."""

from collections.abc import Mapping


class FakeRegister:
    """What one pod has written; the watch of a broker's files has nobody to compete with."""

    def __init__(self) -> None:
        self.data: dict[str, str] = {}
        self.writes = 0

    def pod_uid(self) -> str:
        return "uid-1"

    def add_entries(self, cluster: str, entries: Mapping[str, str], version: str | None) -> None:
        assert (cluster, version) == ("main", None), "no other pod writes it, so no version has to be waited for"
        self.data |= entries
        self.writes += 1
