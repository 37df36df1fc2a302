"""Owns the failures in a log: each rank's tracebacks, and one OutOfMemory for each of them."""

import re
from collections.abc import Iterator

from diagnostics.observations import OutOfMemory, Phase, Traceback
from diagnostics.parsing.out_of_memory import memory_phase, parse_oom
from diagnostics.parsing.tracebacks import RawTraceback, TracebackCollector, read_exception

_MAX_RANKS = 1024
_MAX_TEXT = 4096
_WORDS: tuple[str, ...] = (
    *("Traceback", 'File "', "Error", "Exception", "Interrupt", "bad_alloc", "memory"),
    *("ZeRO Offload", "cpu_adam", "offload_"),
)
_OFFLOAD = re.compile(r"ZeRO Offload|cpu_adam|offload_optimizer|offload_param")
_ABORT = re.compile(
    r"terminate called after throwing an instance of "
    r"'(?P<name>std::bad_alloc|c10::OutOfMemoryError)'"
    r"|\s+what\(\):\s+(?P<message>.*(?:out of memory|bad_alloc).*)"
)


class Failures:
    """Follows one log; `step` is the training step reached, as its owner keeps it."""

    def __init__(self, source: str) -> None:
        self.step: int | None = None
        self._source = source
        self._collectors: dict[int | None, TracebackCollector] = {}
        self._complete: dict[int | None, None] = {}
        """The ranks whose open traceback has its exception, in the order of these."""
        self._told: dict[tuple[int | None, int | None], int | None] = {}
        self._offload = False

    def concerns(self, text: str) -> bool:
        """Whether a line may tell anything: a traceback is open, or a word of one stands in it."""
        return bool(self._collectors) or any(word in text for word in _WORDS)

    @property
    def collecting(self) -> bool:
        """Whether a traceback is open."""
        return bool(self._collectors)

    @property
    def complete(self) -> bool:
        """Whether a traceback has its exception, and an empty line would end it."""
        return bool(self._complete)

    def forget(self) -> None:
        """Take note that another training begins: a failure of it is a new one."""
        self._told.clear()

    def take(
        self, text: str, line: int, rank: int | None, at: float, phase: Phase, *, foreign: bool
    ) -> Iterator[Traceback | OutOfMemory]:
        """Take a line; return what it completes. `foreign` ones are of no traceback."""
        self._offload = self._offload or _OFFLOAD.search(text) is not None
        if rank is None and self._complete:
            # A line without their prefix comes after the ranks' tracebacks.
            for other in [one for one in self._complete if one is not None]:
                yield from self._end(other, at, phase)
        collector = self._collectors.get(rank)
        if collector is None:
            if len(self._collectors) >= _MAX_RANKS:
                yield from self._end(next(iter(self._collectors)), at, phase)
            collector = self._collectors[rank] = TracebackCollector()
        was_complete = collector.complete
        taken, ended = collector.take(text, line, foreign=foreign)
        if ended is not None:
            self._complete.pop(rank, None)
            yield from self._traceback(ended, rank, at, phase)
        if not taken and not foreign:
            yield from self._alone(text, line, rank, at, phase)
        if (
            taken
            and collector.complete
            and not was_complete
            and (raised := collector.open) is not None
        ):
            self._complete[rank] = None
            # Told at once where the line has the numbers: nothing may follow it for hours.
            yield from self._oom(raised, rank, at, phase, whole=False)
        elif not collector.collecting and not collector.orphans:
            self._collectors.pop(rank, None)

    def blank(self, rank: int | None, at: float, phase: Phase) -> Iterator[Traceback | OutOfMemory]:
        """Take an empty line: it ends what is complete."""
        if rank in self._complete:
            yield from self._end(rank, at, phase)

    def end_all(self, at: float, phase: Phase) -> Iterator[Traceback | OutOfMemory]:
        """End every traceback that is complete; the log goes no further."""
        for rank in list(self._complete):
            yield from self._end(rank, at, phase)

    def _end(self, rank: int | None, at: float, phase: Phase) -> Iterator[Traceback | OutOfMemory]:
        self._complete.pop(rank, None)
        ended = self._collectors.pop(rank).end()
        if ended is not None:
            yield from self._traceback(ended, rank, at, phase)

    def _traceback(
        self, raw: RawTraceback, rank: int | None, at: float, phase: Phase
    ) -> Iterator[Traceback | OutOfMemory]:
        yield Traceback(
            at=at,
            source=self._source,
            first_line=raw.first_line,
            last_line=raw.last_line,
            exception=raw.exception,
            message=raw.message[:_MAX_TEXT],
            frames=raw.frames,
            rank=rank,
            phase=phase,
        )
        yield from self._oom(raw, rank, at, phase, whole=True)

    def _alone(
        self, text: str, line: int, rank: int | None, at: float, phase: Phase
    ) -> Iterator[OutOfMemory]:
        """Read an exception that stands outside of a traceback, or an abort's last words."""
        abort = _ABORT.match(text)
        named = (
            read_exception(text)
            if abort is None
            else (abort["name"] or "RuntimeError", abort["message"] or abort["name"])
        )
        if named is None:
            return
        collector = self._collectors.get(rank)
        frames = collector.orphans if collector is not None else ()
        raw = RawTraceback(line, line, named[0], named[1], frames, line)
        yield from self._oom(raw, rank, at, phase, whole=True)

    def _oom(
        self, raw: RawTraceback, rank: int | None, at: float, phase: Phase, *, whole: bool
    ) -> Iterator[OutOfMemory]:
        found = parse_oom(raw.exception, raw.message, raw.frames, offload=self._offload)
        if found is None or not (whole or found.detailed):
            return
        key = (rank, found.gpu if rank is None else None)
        again = key in self._told or (rank is None and found.gpu is None and self._told)
        if again and self.step == self._told.get(key, self.step):
            return
        self._told[key] = self.step
        first = raw.message.partition("\n")[0]
        yield OutOfMemory(
            at=at,
            source=self._source,
            line=raw.exception_line,
            device=found.device,
            phase=memory_phase(raw.frames, phase),
            text=(f"{raw.exception}: {first}" if first else raw.exception)[:_MAX_TEXT],
            rank=rank,
            gpu=found.gpu,
            requested_bytes=found.requested_bytes,
            capacity_bytes=found.capacity_bytes,
            free_bytes=found.free_bytes,
            process_bytes=found.process_bytes,
            allocated_bytes=found.allocated_bytes,
            reserved_bytes=found.reserved_bytes,
            other_processes=found.other_processes,
            step=self.step,
        )
