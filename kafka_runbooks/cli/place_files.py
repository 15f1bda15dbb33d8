"""The files that `place` writes: their names, and all of them or none.

What follows a name starts with `@`, which no topic's name has: `orders@rollback.json` is never the map of another topic. A name
that would be too long for a file system, or that differs from another only by case, is cut and gets a hash.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from kafka_runbooks.placement.errors import InvalidRequest

MOST_BYTES = 255
"""Of a file's name, on any common file system."""
LONGEST_SUFFIX = len("@phase-rollback.json") + 8
KEPT = 180

Writer = Callable[[Path], object]


def stems(topics: Collection[str]) -> dict[str, str]:
    """Topic -> the name of its files without suffix."""
    folded = Counter(topic.casefold() for topic in topics)
    return {
        topic: topic if len(topic) + LONGEST_SUFFIX <= MOST_BYTES and folded[topic.casefold()] == 1 else _hashed(topic)
        for topic in topics
    }


def _hashed(topic: str) -> str:
    return f"{topic[:KEPT]}@{hashlib.sha256(topic.encode()).hexdigest()[:16]}"


def write_all(files: Mapping[Path, Writer]) -> None:
    """Write every file, or none: each is made beside its place first, and moved there once all of them are.

    Args:
        files: by path, what writes it to the path that it is given.

    Raises:
        InvalidRequest: a folder or a file can't be written.
    """
    try:
        for path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise InvalidRequest(f"{path}: is a folder")
        staged: list[tuple[Path, Path]] = []
        folders: dict[Path, tempfile.TemporaryDirectory[str]] = {}
        try:
            for number, (path, write) in enumerate(files.items()):
                folder = folders.get(path.parent)
                if folder is None:
                    folder = folders[path.parent] = tempfile.TemporaryDirectory(prefix=".placing-", dir=path.parent)
                made = Path(folder.name) / f"{number}{path.suffix}"
                write(made)
                staged.append((made, path))
            for made, path in staged:
                made.replace(path)
        finally:
            for folder in folders.values():
                folder.cleanup()
    except OSError as error:
        raise InvalidRequest(f"can't write {error.filename or ''}: {error.strerror or error}; nothing was written") from error
