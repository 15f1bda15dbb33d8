"""The one container image of the lab: a pause process and empty folders into which the host's /usr is mounted.

There is no registry to pull from, and none is needed: a pod runs the host's Java or Python through read-only hostPath
mounts. The image is written with tarfile as a docker-archive and imported into each node's containerd.
"""

import hashlib
import io
import json
import tarfile
from pathlib import Path

NAME = "localhost/lab:1"
_FOLDERS = ("bin.pause", "data", "dev", "etc", "opt", "proc", "root", "run", "sys", "tmp", "usr", "var")
_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}


def write(path: Path, busybox: Path = Path("/bin/busybox")) -> None:
    """Write the archive. busybox must be the static one: it runs before anything is mounted."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name in _FOLDERS:
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(info)
        for name, target in _LINKS.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        _add(tar, "bin.pause/busybox", busybox.read_bytes(), 0o755)
    data = layer.getvalue()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/bin.pause/busybox", "sleep", "2147483647"], "Env": ["PATH=/usr/bin:/usr/sbin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        _add(tar, "manifest.json", json.dumps(manifest).encode())
        _add(tar, "config.json", json.dumps(config).encode())
        _add(tar, "layer.tar", data)


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))
