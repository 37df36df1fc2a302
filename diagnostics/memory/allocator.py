"""Owns PyTorch's CUDA caching allocator as a model: how much memory a trace has it reserve.

It takes segments from the driver and hands out parts of them; what is freed is kept. Sizes and
rules are those of `c10/cuda/CUDACachingAllocator.cpp` with default settings and one stream
(https://github.com/pytorch/pytorch/blob/main/c10/cuda/CUDACachingAllocator.cpp).
"""

from bisect import bisect_left, insort
from dataclasses import dataclass

MIB = 2**20
ROUNDING_BYTES = 512
SMALL_BYTES = MIB
"""Requests up to this share small segments."""
SMALL_SEGMENT_BYTES = 2 * MIB
LARGE_BYTES = 10 * MIB
"""Requests from this size have a segment of their own size."""
LARGE_SEGMENT_BYTES = 20 * MIB
SEGMENT_ROUNDING_BYTES = 2 * MIB


@dataclass(slots=True, eq=False)
class _Block:
    """A part of a segment, between its neighbours there."""

    address: int
    size_bytes: int
    small: bool
    before: "_Block | None" = None
    after: "_Block | None" = None
    free: bool = False

    @property
    def key(self) -> tuple[int, int]:
        return self.size_bytes, self.address


class _Pool:
    """The free blocks of one kind of segment, smallest first."""

    def __init__(self) -> None:
        self._keys: list[tuple[int, int]] = []
        self._blocks: dict[tuple[int, int], _Block] = {}

    def add(self, block: _Block) -> None:
        insort(self._keys, block.key)
        self._blocks[block.key] = block
        block.free = True

    def remove(self, block: _Block) -> None:
        del self._keys[bisect_left(self._keys, block.key)]
        del self._blocks[block.key]
        block.free = False

    def best_fit(self, size_bytes: int) -> _Block | None:
        at = bisect_left(self._keys, (size_bytes, 0))
        if at == len(self._keys):
            return None
        block = self._blocks[self._keys[at]]
        self.remove(block)
        return block


class CachingAllocator:
    """Follows allocations and frees; `reserved_bytes` never falls, as torch keeps segments."""

    def __init__(self) -> None:
        self.allocated_bytes = 0
        self.reserved_bytes = 0
        self.peak_allocated_bytes = 0
        self._blocks: dict[int, _Block] = {}
        self._pools = {True: _Pool(), False: _Pool()}

    def allocate(self, name: int, size_bytes: int) -> None:
        """Hand out a block under a name."""
        size = rounded(size_bytes)
        small = size <= SMALL_BYTES
        block = self._pools[small].best_fit(size) or self._segment(size, small=small)
        self._split(block, size)
        self._blocks[name] = block
        self.allocated_bytes += block.size_bytes
        self.peak_allocated_bytes = max(self.peak_allocated_bytes, self.allocated_bytes)

    def free(self, name: int) -> None:
        """Take a block back and join it with free neighbours; an unknown name is ignored."""
        block = self._blocks.pop(name, None)
        if block is None:
            return
        self.allocated_bytes -= block.size_bytes
        pool = self._pools[block.small]
        before, after = block.before, block.after
        if before is not None and before.free:
            pool.remove(before)
            block.address = before.address
            block.size_bytes += before.size_bytes
            block.before = before.before
            if block.before is not None:
                block.before.after = block
        if after is not None and after.free:
            pool.remove(after)
            block.size_bytes += after.size_bytes
            block.after = after.after
            if block.after is not None:
                block.after.before = block
        pool.add(block)

    def _segment(self, size_bytes: int, *, small: bool) -> _Block:
        segment = segment_bytes(size_bytes)
        block = _Block(self.reserved_bytes, segment, small)
        self.reserved_bytes += segment
        return block

    def _split(self, block: _Block, size_bytes: int) -> None:
        """Cut a block to size where what remains is worth keeping."""
        remains = block.size_bytes - size_bytes
        if remains < ROUNDING_BYTES or (not block.small and remains <= SMALL_BYTES):
            return
        rest = _Block(block.address + size_bytes, remains, block.small, block, block.after)
        if block.after is not None:
            block.after.before = rest
        block.after = rest
        block.size_bytes = size_bytes
        self._pools[block.small].add(rest)


def rounded(size_bytes: int) -> int:
    """Return the bytes that a request takes of its segment."""
    return max(ROUNDING_BYTES, -(-size_bytes // ROUNDING_BYTES) * ROUNDING_BYTES)


def segment_bytes(size_bytes: int) -> int:
    """Return the size of a new segment for a request."""
    if size_bytes <= SMALL_BYTES:
        return SMALL_SEGMENT_BYTES
    if size_bytes < LARGE_BYTES:
        return LARGE_SEGMENT_BYTES
    return -(-size_bytes // SEGMENT_ROUNDING_BYTES) * SEGMENT_ROUNDING_BYTES
