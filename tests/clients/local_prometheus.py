"""A real Prometheus server on loopback, which scrapes a `LocalKafka` every second.

It is Debian's build, unpacked and not installed: installing the package would start a server on the host and add a user for it.
The binary needs none of the package's other files, nor the JavaScript that it depends on for its pages.
"""

import json
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.clients.debian import apt, run
from tests.clients.local_kafka import ROOT, free_ports


def binary() -> Path:
    """Prometheus' binary: the system's, else Debian's; asked of its mirror once a checkout."""
    if found := shutil.which("prometheus"):
        return Path(found)
    folder = ROOT / "build" / "test-prometheus"
    unpacked = folder / "unpacked" / "usr" / "bin" / "prometheus"
    if not unpacked.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            apt("download", "-qq", "prometheus", folder=folder)
        except RuntimeError:  # a fresh machine has no package lists yet
            apt("update", "-qq")
            apt("download", "-qq", "prometheus", folder=folder)
        (package,) = folder.glob("prometheus_*.deb")
        run(["dpkg-deb", "--extract", package.name, "unpacked"], folder)
        package.unlink()
    return unpacked


class LocalPrometheus:
    """`start()`, `wait_for`, `stop()`. `targets`: `host:port` of each broker's exporter, by broker id."""

    def __init__(self, folder: Path, targets: Mapping[int, str], cluster: str) -> None:
        self.folder = folder
        (self.port,) = free_ports(1)
        self.process: subprocess.Popen[bytes] | None = None
        static = [
            {"targets": [target], "labels": {"broker_id": str(broker_id), "cluster": cluster}}
            for broker_id, target in targets.items()
        ]
        self.configuration = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{"job_name": "kafka", "static_configs": static}],
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "prometheus.yml"
        file.write_text(json.dumps(self.configuration))  # JSON is YAML
        command = [str(binary()), f"--config.file={file}", f"--storage.tsdb.path={self.folder / 'data'}"]
        command += [f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"]
        with (self.folder / "prometheus.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def wait_for(self, query: str, series: int, timeout_s: float = 30) -> None:
        """Return when a query gives that many series."""
        deadline = time.monotonic() + timeout_s
        found = None
        while time.monotonic() < deadline:
            try:
                found = len(self.query(query))
                if found == series:
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise TimeoutError(f"{query}: {found} series instead of {series}; see {self.folder}/prometheus.log")

    def query(self, query: str) -> list[object]:
        parameters = urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{parameters}", timeout=5) as answer:
            result: list[object] = json.load(answer)["data"]["result"]
            return result

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
