"""What is built once and cached: Kubernetes, CoreDNS, and Kafka's jars.

Each has a folder in the cache, named by the hash of its definition, built under a temporary name and renamed when
complete, under a lock: an interrupted or parallel build never leaves or reads a partial one. Downloads and builds overlap.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kafka_runbooks_lab import class_archive, packages, paths
from kafka_runbooks_lab.errors import LabError

Say = Callable[[str], None]
_VERSION = "1.36.3"
_COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl")
_KUBERNETES_FLAGS = " ".join(
    [
        "-s -w",
        f"-X k8s.io/component-base/version.gitVersion=v{_VERSION}",
        "-X k8s.io/component-base/version.gitMajor=1",
        "-X k8s.io/component-base/version.gitMinor=36",
        f"-X k8s.io/client-go/pkg/version.gitVersion=v{_VERSION}",
    ]
)


@dataclass(frozen=True)
class Built:
    """The cache folders of the built artifacts."""

    kubernetes: Path
    """`kubelet`, `kubectl` and the other components, links to one binary."""
    coredns: Path
    """The folder with the binary `coredns`."""
    jars: Path


@dataclass(frozen=True)
class _Artifact:
    name: str
    defined_by: tuple[Path, ...]
    flags: str
    expected: str
    """Roughly how long the build takes on two cores, shown while waiting."""
    package: str = "."
    """The Go package to build: the folder's own, or one that its go.mod names as a tool."""
    tags: str = ""
    """Options of the build."""

    @property
    def folder(self) -> Path:
        digest = hashlib.sha256((self.flags + self.tags).encode())
        for file in self.defined_by:
            digest.update(file.read_bytes())
        return paths.CACHE / f"{self.name}-{digest.hexdigest()[:16]}"


def _go_module(name: str, flags: str, expected: str) -> _Artifact:
    folder = paths.LAB / name
    return _Artifact(name, tuple(folder / file for file in ("go.mod", "go.sum", "main.go")), flags, expected)


def ensure(say: Say) -> Built:
    """Build what is not in the cache; reports progress only if there is something to build."""
    _ensure(say, _artifacts())
    return where()


def ensure_kafka(say: Say, release: str) -> Path:
    """The folder with the jars of another release of Kafka than the lab's own."""
    return _ensure_one(say, _kafka(release))


def ensure_zookeeper_mode(say: Say) -> Path:
    """The folder with the jars of Kafka in ZooKeeper mode, and of ZooKeeper."""
    return _ensure_one(say, _kafka(pom="pom-zookeeper.xml"))


def _ensure_one(say: Say, artifact: _Artifact) -> Path:
    _ensure(say, [artifact])
    return artifact.folder


def _ensure(say: Say, artifacts: Sequence[_Artifact]) -> None:
    todo = [artifact for artifact in artifacts if not artifact.folder.exists()]
    if todo:
        with _locked(say), ThreadPoolExecutor(len(todo)) as pool:
            go = packages.go(say) if any(artifact.name != "kafka" for artifact in todo) else Path()
            for future in [pool.submit(_make, artifact, go, say) for artifact in todo]:
                future.result()


def ensure_prometheus(say: Say) -> Path:
    """The folder with the binary `prometheus`, built only on request (`kafka_runbooks_lab.prometheus`)."""
    artifact = _Artifact(
        "prometheus",
        tuple(paths.LAB / "prometheus" / file for file in ("go.mod", "go.sum")),
        "-s -w",
        "Prometheus, 3 min",
        package="github.com/prometheus/prometheus/cmd/prometheus",
        # Of its service discoveries, each with a cloud's library, only Kubernetes' (and static, file and HTTP).
        tags="remove_all_sd,enable_kubernetes_sd",
    )
    return _ensure_one(say, artifact)


def ensure_step(say: Say) -> Path:
    """The binary of step-ca, built only on request: for tests."""
    return _ensure_one(say, _go_module("step", "-s -w", "step-ca, 1 min")) / "step"


def ensure_cert_manager(say: Say) -> Path:
    """The folder with the binary `certmanager` and its CustomResourceDefinitions in `crds`, built only on request: for tests."""
    return _ensure_one(say, _go_module("certmanager", "-s -w", "cert-manager, 3 min"))


def where() -> Built:
    """The folders, whether or not anything is in them yet."""
    kubernetes, coredns, jars = _artifacts()
    return Built(kubernetes.folder, coredns.folder, jars.folder)


def compile_bytecode(say: Say) -> None:
    """Compile the Python that pods run: they mount it read-only, and would compile it at every start, in memory."""
    lock = hashlib.sha256((paths.CHECKOUT / "uv.lock").read_bytes() + bytes(paths.VENV)).hexdigest()[:16]
    stamp = paths.CACHE / f"bytecode-{lock}"
    folders = [paths.CHECKOUT / name for name in ("kafka_runbooks", "activities", "workflows", "worker")]
    if not stamp.exists():
        say("compiling Python's bytecode, once")
        folders.append(Path(sysconfig.get_path("purelib")))
    subprocess.run([sys.executable, "-m", "compileall", "-q", "-j", "2", *folders], capture_output=True)
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    stamp.touch()


def _artifacts() -> tuple[_Artifact, _Artifact, _Artifact]:
    return (
        _go_module("kubernetes", _KUBERNETES_FLAGS, f"Kubernetes {_VERSION}, 5 min"),
        _go_module("coredns", "-s -w", "CoreDNS, 1 min"),
        _kafka(),
    )


def _kafka(release: str = "", pom: str = "pom.xml") -> _Artifact:
    """Of the release that the pom names, or of another."""
    options = f"-Dkafka={release}" if release else ""
    return _Artifact("kafka", (paths.LAB / "kafka" / pom,), "class archive 2", "Kafka's jars, 30 s", tags=options)


def _make(artifact: _Artifact, go: Path, say: Say) -> None:
    if artifact.folder.exists():  # another process built it while this one waited for the lock
        return
    began = time.monotonic()
    ended = threading.Event()

    def progress() -> None:
        while not ended.wait(20):
            say(f"  {artifact.name}: {time.monotonic() - began:.0f} s so far (on two cores about: {artifact.expected})")

    say(f"building, once: {artifact.expected} on two cores")
    watcher = threading.Thread(target=progress, daemon=True)
    watcher.start()
    partial = artifact.folder.with_name(f".{artifact.folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        if artifact.name == "kafka":
            _jars(artifact, partial)
        else:
            _go_build(go, artifact, partial)
        partial.rename(artifact.folder)
    finally:
        ended.set()
        watcher.join()
        shutil.rmtree(partial, ignore_errors=True)
    say(f"  {artifact.name}: built in {time.monotonic() - began:.0f} s")


def _go_build(go: Path, artifact: _Artifact, folder: Path) -> None:
    """-mod=readonly: only what go.sum lists may be used. GOTOOLCHAIN=local: never download another Go."""
    binary = folder / artifact.name
    environment = {
        **os.environ,
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }
    source = artifact.defined_by[0].parent
    if artifact.package == ".":  # most of a tool's modules are for packages that its tags exclude
        _run([str(go), "mod", "download"], artifact, source, environment)
    tags = ["-tags", artifact.tags] if artifact.tags else []
    command = [str(go), "build", "-trimpath", *tags, "-ldflags", artifact.flags, "-o", str(binary), artifact.package]
    _run(command, artifact, source, environment)
    if artifact.name == "kubernetes":
        for component in _COMPONENTS:
            (folder / component).symlink_to(binary.name)
    if artifact.name == "certmanager":
        listed = [str(go), "list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager"]
        module = Path(_run(listed, artifact, source, environment).strip())
        shutil.copytree(module / "deploy/crds", folder / "crds", copy_function=shutil.copyfile)


def _jars(artifact: _Artifact, folder: Path) -> None:
    command = ["mvn", "-q", "-B", "-f", str(artifact.defined_by[0]), "dependency:copy-dependencies", *artifact.tags.split()]
    _run([*command, "-DincludeScope=runtime", f"-DoutputDirectory={folder}"], artifact, folder, {**os.environ})
    class_archive.write(folder)


def _run(command: list[str], artifact: _Artifact, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        complaint = (done.stdout + done.stderr)[-3000:]
        raise LabError(f"{artifact.name}: {' '.join(command[:3])} … failed:\n{complaint}")
    return done.stdout


@contextlib.contextmanager
def _locked(say: Say) -> Iterator[None]:
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    with (paths.CACHE / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is building; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
