"""Many znodes by one request, which kazoo lacks: `multiRead` of ZooKeeper 3.6 (ZOOKEEPER-1407).

A look at the records of a large cluster must not be too old to decide on; `benchmarks.ensemble` measures it.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kazoo.exceptions import EXCEPTIONS, NoNodeError
from kazoo.protocol.serialization import GetData, MultiHeader

_HEADER, _INT, _STAT = struct.Struct("!iBi"), struct.Struct("!i"), struct.Struct("!qqqqiiiqiiq")
_ERROR = -1


class Znode(NamedTuple):
    """What a znode holds, and who made it."""

    data: bytes
    session_id: int
    """0 for a znode that outlives its session."""
    created_zxid: int
    version: int
    """How often it has been written: whoever changes it says which version he has read."""


class MultiRead:
    """A request as kazoo sends them, and how its answer is read (`MultiOperationRecord`, `MultiResponse`).

    Args:
        paths: with the chroot.
    """

    type = 22

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths

    def serialize(self) -> bytes:
        header = MultiHeader(GetData.type, False, -1).serialize()
        reads = b"".join(header + GetData(path, False).serialize() for path in self._paths)
        return reads + bytes(MultiHeader(_ERROR, True, -1).serialize())

    @classmethod
    def deserialize(cls, answer: bytes, offset: int) -> list[Znode | None]:
        """The znodes, in order; None where there is none.

        Raises:
            KazooException: one of them can't be read.
        """
        return list(_znodes(answer, offset))


def _znodes(answer: bytes, offset: int) -> Iterator[Znode | None]:
    while True:
        kind, is_last, _ = _HEADER.unpack_from(answer, offset)
        offset += _HEADER.size
        if is_last:
            return
        (number,) = _INT.unpack_from(answer, offset)
        offset += _INT.size
        if kind == _ERROR:
            if number != NoNodeError.code:
                raise EXCEPTIONS[number]()
            yield None
            continue
        length = max(0, number)  # -1 for a znode without data
        created_zxid, _, _, _, version, _, _, session_id, *_ = _STAT.unpack_from(answer, offset + length)
        yield Znode(answer[offset : offset + length], session_id, created_zxid, version)
        offset += length + _STAT.size
