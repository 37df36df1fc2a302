"""Owns unpacking a gzip file as a stream, in bounded memory, as far as it is sound."""

import zlib
from collections.abc import Iterator
from typing import Protocol

MAGIC = b"\x1f\x8b\x08"
MAX_UNPACKED_BYTES = 8 * 1024**3
_PIECE_BYTES = 1024 * 1024
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class Readable(Protocol):
    """What bytes can be read from."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes; none at the end."""


class DamagedError(Exception):
    """A packed file that cannot be read to its end; the message says why."""


def unpack(file: Readable, most_bytes: int | None = None) -> Iterator[bytes]:
    """Yield the content of a file of one or several members.

    Raises:
        DamagedError: after what could be unpacked.
    """
    room = MAX_UNPACKED_BYTES if most_bytes is None else most_bytes
    member = zlib.decompressobj(_GZIP_WINDOW)
    begun = False
    while packed := file.read(_PIECE_BYTES):
        while packed:
            if not begun and not (packed := packed.lstrip(b"\0")):
                break  # members may be padded
            begun = True
            try:
                data = member.decompress(packed, _PIECE_BYTES)
            except zlib.error as error:
                raise DamagedError(
                    f"is damaged ({str(error).partition(': ')[2] or error})"
                ) from error
            if data:
                yield data[:room]
                room -= len(data)
                if room <= 0:
                    raise DamagedError("unpacks to more than is read")
            packed = member.unconsumed_tail
            if member.eof:
                packed = member.unused_data
                member, begun = zlib.decompressobj(_GZIP_WINDOW), False
    if begun:
        raise DamagedError("ends before its content does")
