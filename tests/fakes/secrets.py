"""Kubernetes Secrets in memory, with the API server's optimistic locking."""

from collections.abc import Mapping

from kafka_runbooks.clients.certificates.protocols import Secret
from kafka_runbooks.clients.errors import Conflict


class FakeSecrets:
    """`Secrets` of one namespace."""

    def __init__(self, data: Mapping[str, Mapping[str, bytes]] | None = None) -> None:
        self._secrets = {name: Secret(dict(parts), "1") for name, parts in (data or {}).items()}
        self._version = 1

    def put(self, name: str, data: Mapping[str, bytes] | None) -> None:
        """Make, replace or (None) delete a Secret, as somebody else does."""
        if data is None:
            self._secrets.pop(name, None)
        else:
            self._version += 1
            self._secrets[name] = Secret(dict(data), str(self._version))

    def read(self, name: str) -> Secret | None:
        return self._secrets.get(name)

    def write(self, name: str, changes: Mapping[str, bytes | None], version: str) -> str:
        found = self._secrets.get(name)
        if found is None or found.version != version:
            raise Conflict(f"Secret {name} was {'deleted' if found is None else 'changed'}")
        data = {key: value for key, value in {**found.data, **changes}.items() if value is not None}
        if data != found.data:  # the API server makes no new version of what is the same
            self.put(name, data)
        return self._secrets[name].version
