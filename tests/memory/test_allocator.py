from diagnostics.memory.allocator import MIB, CachingAllocator, rounded, segment_bytes


def allocator_after(*sizes: int) -> CachingAllocator:
    allocator = CachingAllocator()
    for name, size in enumerate(sizes):
        allocator.allocate(name, size)
    return allocator


def test_requests_are_rounded_to_512_bytes() -> None:
    assert [rounded(size) for size in (1, 512, 513)] == [512, 512, 1024]


def test_segments_are_of_2_mib_of_20_mib_or_of_the_request_rounded_to_2_mib() -> None:
    assert segment_bytes(MIB) == 2 * MIB
    assert segment_bytes(MIB + 512) == 20 * MIB
    assert segment_bytes(10 * MIB) == 10 * MIB
    assert segment_bytes(10 * MIB + 512) == 12 * MIB


def test_small_requests_share_a_segment() -> None:
    allocator = allocator_after(*[512 * 1024] * 4)

    assert allocator.reserved_bytes == 2 * MIB
    assert allocator.allocated_bytes == 2 * MIB


def test_small_and_large_requests_do_not_share_segments() -> None:
    assert allocator_after(1024, 2 * MIB).reserved_bytes == 22 * MIB


def test_what_is_freed_stays_reserved_and_is_used_again() -> None:
    allocator = allocator_after(64 * MIB)
    allocator.free(0)

    assert (allocator.allocated_bytes, allocator.reserved_bytes) == (0, 64 * MIB)
    allocator.allocate(1, 32 * MIB)
    allocator.allocate(2, 32 * MIB)
    assert allocator.reserved_bytes == 64 * MIB


def test_the_smallest_block_that_fits_is_taken() -> None:
    allocator = allocator_after(64 * MIB, 40 * MIB)
    allocator.free(0)
    allocator.free(1)
    allocator.allocate(2, 38 * MIB)
    allocator.allocate(3, 64 * MIB)

    assert allocator.reserved_bytes == 104 * MIB


def test_free_neighbours_become_one_block_again() -> None:
    allocator = allocator_after(60 * MIB)
    allocator.free(0)
    for name in (1, 2, 3):
        allocator.allocate(name, 20 * MIB)
    for name in (1, 3, 2):
        allocator.free(name)
    allocator.allocate(4, 60 * MIB)

    assert allocator.reserved_bytes == 60 * MIB


def test_blocks_of_different_segments_are_never_joined() -> None:
    allocator = allocator_after(30 * MIB, 30 * MIB)
    allocator.free(0)
    allocator.free(1)
    allocator.allocate(2, 60 * MIB)

    assert allocator.reserved_bytes == 120 * MIB


def test_a_rest_of_a_large_block_of_at_most_1_mib_is_not_split_off() -> None:
    allocator = allocator_after(64 * MIB)
    allocator.free(0)
    allocator.allocate(1, 63 * MIB)

    assert allocator.allocated_bytes == 64 * MIB


def test_a_hole_too_small_makes_a_new_segment_however_much_is_free() -> None:
    allocator = allocator_after(100 * MIB)
    allocator.free(0)
    for name in range(1, 11):
        allocator.allocate(name, 10 * MIB)
    for name in range(1, 11, 2):
        allocator.free(name)
    allocator.allocate(11, 20 * MIB)

    assert allocator.allocated_bytes == 70 * MIB
    assert allocator.reserved_bytes == 120 * MIB


def test_freeing_an_unknown_block_changes_nothing() -> None:
    allocator = allocator_after(MIB)
    allocator.free(99)

    assert allocator.allocated_bytes == MIB


def test_what_is_reserved_never_falls_and_is_at_least_what_is_allocated() -> None:
    allocator = CachingAllocator()
    before = 0
    for step in range(4):
        names = [step * 100 + at for at in range(50)]
        for name in names:
            allocator.allocate(name, (name % 7 + 1) * 3 * MIB + 700)
        assert allocator.reserved_bytes >= max(before, allocator.allocated_bytes)
        before = allocator.reserved_bytes
        for name in reversed(names):
            allocator.free(name)
        assert allocator.reserved_bytes == before

    assert allocator.allocated_bytes == 0
    assert allocator.reserved_bytes >= allocator.peak_allocated_bytes
