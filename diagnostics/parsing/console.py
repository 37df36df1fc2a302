"""Owns a training's console text as a stream: bytes in, observations out, never an exception.

Progress bars are not lines, and the samples that LLaMA-Factory prints are data, not log.
"""

import re
from collections.abc import Iterator

from diagnostics.observations import (
    BarKind,
    EvalPoint,
    LogLine,
    Observation,
    OutOfMemory,
    Phase,
    PhaseChange,
    Progress,
    RankExit,
    RunFact,
    Traceback,
    TrainStep,
)
from diagnostics.parsing.bars import Bar, find_bars
from diagnostics.parsing.header import find_facts, find_phase
from diagnostics.parsing.lines import LineSplitter, RawLine
from diagnostics.parsing.metrics import find_metrics
from diagnostics.parsing.out_of_memory import memory_phase, parse_oom
from diagnostics.parsing.records import parse_record, split_rank
from diagnostics.parsing.steps import StepClock
from diagnostics.parsing.torchrun import ExitCollector
from diagnostics.parsing.tracebacks import START, RawTraceback, TracebackCollector

MAX_TEXT = 4096
MAX_RANKS = 256
"""Whose tracebacks are open at once."""
_EXPORT = re.compile(r"(?:src/export_model\.py|llamafactory-cli export)")
_SAMPLE = re.compile(r"^(?:training|eval|validation) example:$")
_LABELS = re.compile(r"^labels:")
_SAMPLE_FIELD = re.compile(r"^(?:input_ids|inputs|label_ids|labels):")
_NOT_SAMPLE = re.compile(  # what launchers, ranks and C++ print stands in no sample
    r"^(?:\[rank\d{1,5}\]:|\[?[WEIF]\d{4} \d\d:\d\d:\d\d\.\d+ |terminate called after throwing )"
)
_BARE_ERROR = re.compile(
    r"^(?P<name>(?:\w+\.)*(?:OutOfMemoryError|RuntimeError|AcceleratorError|_?\w*MemoryError))"
    r"(?:: (?P<message>.*)|$)"
)
_TERMINATED = re.compile(
    r"^terminate called after throwing an instance of '(?P<name>[\w:]{1,100})'"
)
_DATASET_BARS = re.compile(
    r"tokenizer|Converting format|Generating|Map\b|Filter|Resolving|Downloading|num_proc|examples"
)
_WEIGHT_BARS = re.compile(r"Loading (?:checkpoint shards|weights)|Materializing|Fetching")


class ConsoleParser:
    """Reads one console log; `source` is the name that observations carry."""

    def __init__(self, source: str, first_line: int = 1) -> None:
        self._source = source
        self._splitter = LineSplitter(first_line=first_line)
        self._tracebacks: dict[int | None, TracebackCollector] = {}
        self._exits = ExitCollector()
        self._clock = StepClock()
        self._phase = Phase.STARTING
        self._in_sample = False
        self._in_labels = False
        self._failed_ranks: set[int | None] = set()
        self._offload = False
        self._at = 0.0

    def feed(self, data: bytes, at: float) -> list[Observation]:
        """Take bytes that were read at a time; return what they show."""
        self._at = at
        return [seen for raw in self._splitter.feed(data) for seen in self._line(raw)]

    def settle(self, at: float) -> list[Observation]:
        """Return what has ended though no line followed it: tracebacks at the end of a log."""
        self._at = at
        return [] if self._splitter.pending else list(self._blank())

    def jump(self, line: int, at: float) -> list[Observation]:
        """Go on where line `line` begins; return what was left before, as `finish` does."""
        found = self.finish(at)
        self._splitter.jump(line)
        self._in_sample = False
        return found

    def finish(self, at: float) -> list[Observation]:
        """Return what is left at the end of the log, its last half line included."""
        self._at = at
        found = [seen for raw in self._splitter.flush() for seen in self._line(raw)]
        return found + self._end_tracebacks()

    def _end_tracebacks(self) -> list[Observation]:
        ended = [(rank, collector.end()) for rank, collector in self._tracebacks.items()]
        self._tracebacks.clear()
        return [self._traceback(raw, rank) for rank, raw in ended if raw is not None]

    def _line(self, raw: RawLine) -> Iterator[Observation]:
        text = raw.text
        sampled = self._in_sample and _SAMPLE_FIELD.match(text) is not None
        bars = [] if sampled else find_bars(text)
        if bars:
            for bar in bars:
                yield from self._bar(bar, raw)
            self._in_sample = False
            text = text[bars[-1].end :].strip()
        if not text.strip():
            yield from self._blank()
            return
        record = parse_record(text)
        if record is not None:
            self._in_sample = False
        if self._in_sample and not self._leaves_sample(text):
            return
        rank, body = split_rank(text)
        yield LogLine(self._at, self._source, raw.line, body[:MAX_TEXT], rank)
        self._offload = self._offload or "ZeRO Offload" in body or "cpu_adam" in body
        if _SAMPLE.match(body):
            self._in_sample, self._in_labels = True, False
            return
        if record is None:
            yield from self._error(body, raw.line, rank)
            yield from self._metrics(body, raw.line)
            if _EXPORT.search(body):
                yield from self._enter(Phase.EXPORTING, raw.line)
        else:
            yield from self._ended(rank)
        yield from self._exit(record.message if record is not None else body, raw.line)
        yield from self._facts(record.message if record is not None else body, raw.line)

    def _leaves_sample(self, text: str) -> bool:
        """Whether a line is log again: an error may follow a sample that was printed whole."""
        if _LABELS.match(text):
            self._in_labels = True
        if _NOT_SAMPLE.match(text) or (self._in_labels and text.startswith(START)):
            self._in_sample = False
        return not self._in_sample or find_metrics(text) is not None

    def _blank(self) -> Iterator[Observation]:
        for rank in list(self._tracebacks):
            yield from self._ended(rank, only_complete=True)

    def _ended(self, rank: int | None, *, only_complete: bool = False) -> Iterator[Observation]:
        collector = self._tracebacks.get(rank)
        if collector is None or (only_complete and not collector.complete):
            return
        del self._tracebacks[rank]
        raw = collector.end()
        if raw is not None:
            yield self._traceback(raw, rank)

    def _bar(self, bar: Bar, raw: RawLine) -> Iterator[Observation]:
        kind = self._kind(bar)
        yield Progress(
            self._at,
            self._source,
            kind,
            bar.description[-120:],
            bar.done,
            bar.total,
            bar.elapsed_s,
            bar.seconds_per_item,
        )
        before = self._clock.bar_step
        if kind is BarKind.TRAIN:
            self._clock.see_bar(bar.done)
            begins = self._phase in {Phase.STARTING, Phase.PREPROCESSING, Phase.LOADING}
            returns = self._phase in {Phase.EVALUATING, Phase.SAVING}
            if (begins and bar.done < bar.total) or (returns and bar.done > (before or 0)):
                yield from self._enter(Phase.TRAINING, raw.line)
        elif kind is BarKind.DATASET and self._phase is Phase.STARTING:
            yield from self._enter(Phase.PREPROCESSING, raw.line)
        elif kind is BarKind.WEIGHTS and self._phase in {Phase.STARTING, Phase.PREPROCESSING}:
            yield from self._enter(Phase.LOADING, raw.line)
        elif kind is BarKind.EVAL and self._phase is Phase.TRAINING:
            yield from self._enter(Phase.EVALUATING, raw.line)

    def _kind(self, bar: Bar) -> BarKind:
        if bar.description:
            if _DATASET_BARS.search(bar.description):
                return BarKind.DATASET
            if _WEIGHT_BARS.search(bar.description):
                return BarKind.WEIGHTS
            return BarKind.OTHER
        if self._clock.is_train_total(bar.total):
            same = self._phase is Phase.EVALUATING and bar.done < (self._clock.bar_step or 0)
            return BarKind.EVAL if same else BarKind.TRAIN
        return BarKind.EVAL

    def _error(self, text: str, line: int, rank: int | None) -> Iterator[Observation]:
        if rank not in self._tracebacks and len(self._tracebacks) >= MAX_RANKS:
            return
        if rank is None and text.startswith(START):
            yield from self._blank()  # a launcher's own: the ranks' come before it
        collector = self._tracebacks.setdefault(rank, TracebackCollector())
        taken, ended = collector.take(text, line)
        if ended is not None:
            yield self._traceback(ended, rank)
        if taken and collector.just_raised:
            name, message, frames = collector.raised
            yield from self._oom(name, message, frames, line, rank)
        elif not taken and (match := _BARE_ERROR.match(text)) is not None:
            yield from self._oom(match["name"], match["message"] or "", (), line, rank)
        elif not taken and (match := _TERMINATED.match(text)) is not None:
            yield from self._oom("terminate", match["name"], (), line, rank)

    def _oom(
        self, name: str, message: str, frames: tuple[str, ...], line: int, rank: int | None
    ) -> Iterator[Observation]:
        found = parse_oom(name, message, frames, offload=self._offload)
        if found is None or rank in self._failed_ranks:
            return
        self._failed_ranks.add(rank)
        yield OutOfMemory(
            at=self._at,
            source=self._source,
            line=line,
            device=found.device,
            phase=memory_phase(frames, self._phase),
            text=(f"{name}: {message}" if message else name)[:MAX_TEXT],
            rank=rank,
            gpu=found.gpu,
            requested_bytes=found.requested_bytes,
            capacity_bytes=found.capacity_bytes,
            free_bytes=found.free_bytes,
            process_bytes=found.process_bytes,
            allocated_bytes=found.allocated_bytes,
            reserved_bytes=found.reserved_bytes,
            other_processes=found.other_processes,
            step=self._clock.bar_step,
        )

    def _traceback(self, raw: RawTraceback, rank: int | None) -> Traceback:
        return Traceback(
            at=self._at,
            source=self._source,
            first_line=raw.first_line,
            last_line=raw.exception_line,
            exception=raw.exception,
            message=raw.message[:MAX_TEXT],
            frames=raw.frames,
            rank=rank,
            phase=self._phase,
        )

    def _metrics(self, text: str, line: int) -> Iterator[Observation]:
        found = find_metrics(text)
        if found is None:
            return
        numbers = dict(found[0])
        epoch = numbers.get("epoch")
        if "train_loss" in numbers:
            yield RunFact(self._at, self._source, line, "train_loss", numbers["train_loss"])
            if "train_runtime" in numbers:
                runtime = numbers["train_runtime"]
                yield RunFact(self._at, self._source, line, "train_runtime_s", runtime)
            yield from self._enter(Phase.FINISHED, line)
        elif any(key.startswith("eval_") for key in numbers):
            extra = _others(numbers, ("eval_loss", "epoch"))
            step = self._clock.step_at(epoch, new=False)
            loss = numbers.get("eval_loss")
            yield EvalPoint(self._at, self._source, line, step, loss, epoch, extra)
        elif "loss" in numbers:
            yield TrainStep(
                at=self._at,
                source=self._source,
                line=line,
                step=self._clock.step_at(epoch, new=True),
                total_steps=self._clock.total_steps,
                loss=numbers["loss"],
                grad_norm=numbers.get("grad_norm"),
                learning_rate=numbers.get("learning_rate"),
                epoch=epoch,
                extra=_others(numbers, ("loss", "grad_norm", "learning_rate", "epoch")),
            )

    def _exit(self, text: str, line: int) -> Iterator[Observation]:
        end = self._exits.take(text)
        if end is not None:
            yield RankExit(
                self._at, self._source, line, end.rank, end.exit_code, end.pid, end.root_cause
            )

    def _facts(self, message: str, line: int) -> Iterator[Observation]:
        for name, value in find_facts(message):
            self._clock.see_fact(name, value)
            yield RunFact(self._at, self._source, line, name, value)
        phase = find_phase(message)
        if phase is not None:
            yield from self._enter(phase, line)

    def _enter(self, phase: Phase, line: int) -> Iterator[Observation]:
        if phase is self._phase and phase is not Phase.TRAINING:
            return
        if phase is Phase.TRAINING and self._phase not in {Phase.EVALUATING, Phase.SAVING}:
            self._failed_ranks.clear()
        self._phase = phase
        yield PhaseChange(self._at, self._source, line, phase)


def _others(numbers: dict[str, float], taken: tuple[str, ...]) -> dict[str, float]:
    return {key: value for key, value in numbers.items() if key not in taken}
