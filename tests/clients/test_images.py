"""The images, built by buildah without a registry, and what is in them started as they are deployed: as nobody, read-only.

The base image is Debian's own Python, for python:3.11-slim needs a registry; the Dockerfiles are built as they are.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.clients.local_kafka import ROOT, free_ports
from tests.clients.scraped import until_it_answers
from tests.temporal_env import start_server

# tests/clients/test_deployment.py reads the same Dockerfiles.
pytestmark = [pytest.mark.soak, pytest.mark.server]

BASE = "localhost/python-base"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
BASE_STEPS = f"""
FROM scratch
COPY base /
RUN ln -sf python3 /usr/bin/python && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
ENV SSL_CERT_FILE={CERTIFICATES} PIP_CERT={CERTIFICATES}
"""
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"


def run(*command: str | Path, cwd: Path = ROOT, **more: Any) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL, **more)
    assert done.returncode == 0, f"{command}: {(done.stdout + done.stderr)[-3000:]}"
    return str(done.stdout)


class Builder:
    """buildah with a storage of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        storage, state = folder / "storage", folder / "run"
        self._command = ("buildah", "--root", str(storage), "--runroot", str(state), "--storage-driver", "overlay")

    def __call__(self, *arguments: str) -> str:
        return run(*self._command, *arguments)

    def build(self, dockerfile: Path, tag: str, context: Path) -> None:
        how = ("--isolation", "chroot", "--layers=false", "--pull-never", "--build-arg", f"PYTHON_IMAGE={BASE}")
        self("bud", *how, "-f", str(dockerfile), "-t", tag, str(context))

    def image(self, dockerfile: Path) -> "Image":
        """Built, and its files mounted."""
        tag = f"localhost/{dockerfile.stem}"
        self.build(dockerfile, tag, ROOT)
        config = json.loads(self("inspect", "--type", "image", tag))["OCIv1"]["config"]
        return Image(self("mount", self("from", "--pull-never", tag).strip()).strip(), config)


@dataclass(frozen=True)
class Image:
    """An image's files and what it says of how to start it."""

    root: str
    config: dict[str, Any]

    def start(self, *command: str, **environment: str) -> "subprocess.Popen[str]":
        """A command as it is deployed: user 10001 without new privileges, the file system read-only but for /tmp."""
        assert self.config["User"] == "10001:10001"
        inside = dict(one.split("=", 1) for one in self.config["Env"]) | environment
        script = (
            'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && mount -t tmpfs -o mode=1777 tmpfs "$1/tmp" '
            '&& mount -t proc proc "$1/proc" && root=$1 && work=$2 && shift 2 '
            '&& exec setpriv --no-new-privs chroot --userspec=10001:10001 "$root" sh -c \'cd "$0" && exec "$@"\' "$work" "$@"'
        )
        work, words = self.config.get("WorkingDir") or "/", command or self.config["Cmd"]
        arguments = ["unshare", "--mount", "sh", "-c", script, "sh", self.root, work, *words]
        return subprocess.Popen(arguments, env=inside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """With the base image."""
    if not shutil.which("buildah") or not shutil.which("debootstrap"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", "-qq", env=environment)
        run("apt-get", "install", "-qq", "-y", "--no-install-recommends", "buildah", "debootstrap", env=environment)
    folder = tmp_path_factory.mktemp("images")
    run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", folder / "base")
    shutil.copyfile(CERTIFICATES, folder / "base" / CERTIFICATES.relative_to("/"))
    (folder / "Dockerfile").write_text(BASE_STEPS)
    made = Builder(folder)
    made.build(folder / "Dockerfile", BASE, folder)
    shutil.rmtree(folder / "base")
    yield made
    made("umount", "--all")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def image(builder: Builder) -> Callable[[str], Image]:
    """By name; each is built once."""
    return cache(lambda stem: builder.image(ROOT / "deploy" / "images" / f"{stem}.Dockerfile"))


@pytest.mark.parametrize(
    ("stem", "command", "code", "says"),
    [
        ("worker", (), 2, "KAFKA_RUNBOOKS_CLUSTERS_FILE"),
        ("page", (), 2, "KAFKA_RUNBOOKS_"),
        ("agent", ("kafka-runbooks-agent", "--help"), 1, "usage: kafka-runbooks-agent identify|serve"),
        ("agent", ("kafka-runbooks", "doctor", "--help"), 0, "CLUSTER"),
        ("worker", ("sh", "-c", "touch /app/written || id -u"), 0, "10001"),
    ],
)
def test_it_starts_as_nobody_on_a_read_only_file_system(
    image: Callable[[str], Image], stem: str, command: tuple[str, ...], code: int, says: str
) -> None:
    process = image(stem).start(*command)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == code and says in said, said


@pytest.mark.parametrize("stem", ["worker", "page", "agent"])
def test_there_is_nothing_of_the_build_in_it(image: Callable[[str], Image], stem: str) -> None:
    found, _ = image(stem).start("sh", "-c", "ls /app; command -v uv || echo no uv").communicate(timeout=120)
    assert "no uv" in found and not {"deploy", "tests"} & set(found.split())


async def test_the_worker_s_image_works(image: Callable[[str], Image]) -> None:
    async with await start_server() as environment:
        health, temporal = free_ports(2)
        settings = {
            "TEMPORAL_ADDRESS": environment.client.service_client.config.target_host,
            "KAFKA_RUNBOOKS_CLUSTERS_FILE": "/tmp/clusters.yaml",
            "KAFKA_RUNBOOKS_HEALTH_PORT": str(health),
            "KAFKA_RUNBOOKS_METRICS_PORT": str(temporal),
        }
        prepared = "echo 'clusters: {lab: {bootstrap_servers: \"127.0.0.1:1\", namespace: kafka}}' > /tmp/clusters.yaml"
        with ended(image("worker").start("sh", "-c", f"{prepared}; exec python -m worker", **settings)):
            metrics = until_it_answers(f"http://127.0.0.1:{health}/metrics", "kafka_runbooks_seconds_since_look ")
            assert "kafka_runbooks_seconds_since_look" in metrics


@contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=60)
        print(said, file=sys.stderr)
