"""A real step-ca on loopback, with an intermediate CA and provisioners as `step ca init` makes them."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from kafka_runbooks_lab import builds

from kafka_runbooks.clients.security.files import tls_context
from tests.clients.certificates.authorities import Authority, authority
from tests.clients.certificates.local_kubernetes import wait_until
from tests.clients.local_kafka import ROOT, free_ports

PASSWORD = "a provisioner's password"


def documented_provisioner() -> dict[str, Any]:
    """The one in docs/security.md, which keeps the whole of a subject: the default template drops all but its common name."""
    match = re.search(r"```json\n(.+?)```", (ROOT / "docs" / "security.md").read_text(), re.DOTALL)
    assert match is not None
    found: dict[str, Any] = json.loads(match[1])
    return found


class LocalStep:
    """Running; `folder` has its files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._binary = builds.ensure_step(print)
        self.root: Authority = authority("step root")
        self.ca_file = folder / "root.pem"
        self.password_file = folder / "password"
        self.url = f"https://127.0.0.1:{free_ports(1)[0]}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        middle = authority("step intermediate", above=self.root)
        self.ca_file.write_bytes(self.root.pem)
        self.password_file.write_text(PASSWORD)
        (self._folder / "middle.pem").write_bytes(middle.pem)
        (self._folder / "middle.key").write_bytes(middle.key_pem())
        kafka = {**documented_provisioner(), **self._provisioner("kafka")}
        hidden = self._provisioner("hidden")
        del hidden["encryptedKey"]
        others = [self._provisioner("plain"), hidden, {"type": "ACME", "name": "acme"}]
        settings = {
            "root": str(self.ca_file),
            "crt": str(self._folder / "middle.pem"),
            "key": str(self._folder / "middle.key"),
            "address": self.url.removeprefix("https://"),
            "dnsNames": ["127.0.0.1"],
            "db": {"type": "badgerv2", "dataSource": str(self._folder / "db")},
            "authority": {"provisioners": [kafka, *others]},
        }
        (self._folder / "ca.json").write_text(json.dumps(settings))
        with (self._folder / "step.log").open("wb") as log:
            command = [str(self._binary), "serve", str(self._folder / "ca.json")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until("step-ca", self._answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _provisioner(self, name: str, **settings: object) -> dict[str, Any]:
        made = subprocess.run([self._binary, "provisioner", PASSWORD], check=True, capture_output=True, text=True)
        return {"type": "JWK", "name": name, **json.loads(made.stdout), **settings}

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError((self._folder / "step.log").read_text()[-2000:])
        try:
            verify = tls_context(self.ca_file, "ca_file")
            return httpx.get(f"{self.url}/health", verify=verify, trust_env=False).is_success
        except httpx.HTTPError:
            return False


@contextmanager
def local_step(folder: Path) -> Iterator[LocalStep]:
    step = LocalStep(folder)
    try:
        step.start()
        yield step
    finally:
        step.stop()
