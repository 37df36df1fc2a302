"""Owns a training's console text as a stream: bytes in, observations out, never an exception.

Progress bars are not lines, and the samples that LLaMA-Factory prints are data, not log.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from diagnostics.observations import (
    NOTHING,
    BarKind,
    EvalPoint,
    LogLine,
    Observation,
    Phase,
    PhaseChange,
    Progress,
    RankExit,
    RunFact,
    Traceback,
    TrainStep,
)
from diagnostics.parsing.bars import Bar, plain_bar, split_bars, without_redraws
from diagnostics.parsing.failures import Failures
from diagnostics.parsing.header import find_facts, find_phase, tells_anything
from diagnostics.parsing.lines import LineSplitter, RawLine
from diagnostics.parsing.metrics import Metrics, MetricsKind, MetricsReader, find_v1_metrics
from diagnostics.parsing.phases import PhaseTracker
from diagnostics.parsing.pieces import MAX_TEXT
from diagnostics.parsing.records import BOARD, Record, parse_record, split_rank
from diagnostics.parsing.samples import SampleBlocks
from diagnostics.parsing.steps import StepClock
from diagnostics.parsing.torchrun import ExitCollector

_MAX_HELD = 10_000
_TRAIN_FACTS = frozenset({"num_examples", "num_epochs"})
_OVER = frozenset({Phase.TRAINING, Phase.EVALUATING, Phase.SAVING, Phase.FINISHED})
_NOT_EXTRA = frozenset({"loss", "grad_norm", "learning_rate", "epoch", "eval_loss"})


class ConsoleParser:
    """Reads one console log; `source` is the name that observations carry."""

    def __init__(self, source: str, first_line: int = 1) -> None:
        self._source = source
        self._splitter = LineSplitter(first_line=first_line)
        self._samples = SampleBlocks()
        self._failures = Failures(source)
        self._exits = ExitCollector()
        self._phases = PhaseTracker()
        self._clock = StepClock()
        self._reader = MetricsReader()
        self._facts: dict[str, int | float | str] = {}
        self._phase = Phase.STARTING
        self._trained = False
        self._restarting = False
        self._peeked: Bar | None = None
        self._held: list[tuple[Metrics, int]] = []
        self._at = 0.0

    def feed(self, data: bytes, at: float) -> list[Observation]:
        """Take bytes that were read at a time; return what they show."""
        self._at = at
        found: list[Observation] = []
        for raw in self._splitter.feed(without_redraws(data)):
            bar = plain_bar(raw.text) if "%|" in raw.text else None
            if bar is not None:
                found += self._drawn(bar, raw.line)
            elif raw.text or self._failures.complete:
                found += self._line(raw)
        return found

    def peek(self, at: float) -> list[Observation]:
        """Return the bar at the end of what was fed, which no line break has followed yet."""
        self._at = at
        parts = split_bars(self._splitter.pending)
        bar = parts[-1] if parts else None
        if not isinstance(bar, Bar) or self._is_peeked(bar):
            return []
        self._peeked = bar
        return [*self._release(bar), *self._bar(bar, self._splitter.line)]

    def settle(self, at: float) -> list[Observation]:
        """Return what has ended though no line followed it, in a log that does not grow."""
        self._at = at
        return self._end()

    def finish(self, at: float) -> list[Observation]:
        """Return what is left at the end of the log, its last half line included."""
        self._at = at
        found = [seen for raw in self._splitter.flush() for seen in self._line(raw)]
        return found + self._end()

    def jump(self, line: int, at: float) -> list[Observation]:
        """Go on where line `line` begins; return what was left before, as `finish` does."""
        found = self.finish(at)
        self._splitter.jump(line)
        self._samples.leave()
        return found

    @property
    def line(self) -> int:
        """The number of the line that comes next, or has begun."""
        return self._splitter.line

    @property
    def total_steps(self) -> int | None:
        """How many steps the training takes, by its header or its bar."""
        return self._phases.train_total

    @property
    def knows_steps(self) -> bool:
        """Whether the training's header told how many steps an epoch has."""
        return self._clock.knows(1.0)

    @property
    def resting(self) -> bool:
        """Whether it is in no traceback, sample or header, and holds nothing back."""
        in_header = self._phase is Phase.TRAINING and self._phases.train_done is None
        within = self._failures.collecting or self._samples.inside or in_header
        return not (within or self._held)

    def skim(self, text: str, line: int, at: float, passed_over: int) -> list[Observation]:
        """Take metrics that were picked out of a log; `passed_over` before them were left away.

        What lies between them was left away, too; `jump` was called before the first.
        """
        self._at = at
        if passed_over:
            self._clock.pass_over(passed_over)
        metrics = self._reader.find(text) or find_v1_metrics(text.partition("\n")[0])
        if metrics is None:
            return []
        goes_on = self._trained and not self._restarting and not self._held
        epoch = metrics.numbers.get("epoch")
        if goes_on and metrics.step is None and self._clock.knows(epoch):
            if metrics.kind is MetricsKind.TRAIN:
                step = self._clock.train_step(epoch, metrics.epoch_error)
                return [self._train_step(metrics.numbers, step, line)]
            if metrics.kind is MetricsKind.EVAL:
                return [self._eval_point(metrics, line)]
        return [*self._measured(metrics, line)]

    def skim_bar(
        self, done: int, total: int, elapsed_s: float | None, line: int, at: float
    ) -> list[Observation]:
        """Take the last training bar before metrics that are picked out; told is it with its time.

        Without `elapsed_s` only the step is of interest.
        """
        self._at = at
        goes_on = self._trained and not self._restarting
        if elapsed_s is None and goes_on and self._phases.goes_on(done, total):
            self._clock.bar_step = done
            return []
        found = [*self._bar(Bar("", done, total, elapsed_s, None, 0, 0), line)]
        return found[:-1] if elapsed_s is None else found

    def _is_peeked(self, bar: Bar) -> bool:
        seen = self._peeked
        return seen is not None and replace(bar, start=seen.start, end=seen.end) == seen

    def _end(self) -> list[Observation]:
        found = [seen for log in self._samples.end() for seen in self._log(*log, None, None)]
        found += self._release()
        found.extend(self._failed(self._failures.end_all(self._at, self._phase)))
        return found

    def _line(self, raw: RawLine) -> Iterator[Observation]:
        rank, body = split_rank(raw.text)
        if not body or body.isspace():
            yield from self._failed(self._failures.blank(rank, self._at, self._phase))
            return
        sampled = rank is None and self._samples.begins_section(body)
        for part in [body] if sampled else split_bars(body):
            if not isinstance(part, str):
                yield from self._drawn(part, raw.line)
                continue
            record = parse_record(part)
            if record is not None and part[: record.start].strip():
                yield from self._sifted(part[: record.start], raw.line, rank, None)
                part = part[record.start :]  # noqa: PLW2901 - the rest of the same part
            yield from self._sifted(part, raw.line, rank, record)

    def _drawn(self, bar: Bar, line: int) -> Iterator[Observation]:
        self._samples.leave()
        if self._held:
            yield from self._release(bar)
        if not self._is_peeked(bar):
            yield from self._bar(bar, line)
        self._peeked = None

    def _sifted(
        self, text: str, line: int, rank: int | None, record: Record | None
    ) -> Iterator[Observation]:
        is_record = record is not None or rank is not None
        for log, number in self._samples.take(text, line, is_record=is_record):
            yield from self._log(log, number, rank, record)

    def _log(
        self, text: str, line: int, rank: int | None, record: Record | None
    ) -> Iterator[Observation]:
        yield LogLine(self._at, self._source, line, text[:MAX_TEXT].rstrip(), rank)
        message = text if record is None else record.message
        metrics = self._metrics_in(text, record)
        if metrics is None:
            yield from self._release()
        if self._failures.concerns(text):
            foreign = record is not None or metrics is not None
            where = (self._at, self._phase)
            self._failures.step = self._phases.train_done
            yield from self._failed(self._failures.take(text, line, rank, *where, foreign=foreign))
        end = self._exits.take(message)
        if end is not None:
            yield RankExit(
                self._at, self._source, line, end.rank, end.exit_code, end.pid, end.root_cause
            )
        if metrics is not None:
            yield from self._measured(metrics, line)
            return
        yield from self._told(message, line)

    def _measured(self, metrics: Metrics, line: int) -> Iterator[Observation]:
        """Take metrics; hold them where only what follows can tell their step.

        Without the header's numbers the bar tells the step, unless several dicts come at once.
        """
        epoch = metrics.numbers.get("epoch")
        told = metrics.step is not None or self._clock.knows(epoch) or not self._clock.bar_step
        if metrics.kind is MetricsKind.SUMMARY:
            self._clock.see_end(epoch)
            yield from self._release()
        elif not told and len(self._held) < _MAX_HELD:
            self._held.append((metrics, line))
            return
        yield from self._metrics(metrics, line)

    def _release(self, bar: Bar | None = None) -> Iterator[Observation]:
        """Tell the metrics that were held; a bar that comes next was redrawn after them."""
        held, self._held = self._held, []
        points = sum(metrics.kind is MetricsKind.TRAIN for metrics, _ in held)
        if points == 1 and bar is not None and bar.total == self._phases.train_total:
            self._clock.bar_step = bar.done
        elif points > 1:
            self._clock.bar_step = None
        for metrics, line in held:
            yield from self._metrics(metrics, line)

    def _metrics_in(self, text: str, record: Record | None) -> Metrics | None:
        if record is None:
            return self._reader.find(text)
        if record.name in BOARD:
            return self._reader.find(record.message)
        return find_v1_metrics(record.message)

    def _failed(self, found: Iterator[Observation]) -> Iterator[Observation]:
        for seen in found:
            if isinstance(seen, Traceback):
                self._phases.see_failure()
            yield seen

    def _bar(self, bar: Bar, line: int) -> Iterator[Observation]:
        kind = self._phases.see_bar(bar)
        if kind is BarKind.TRAIN:
            self._trained = True
            yield from self._restarted(line)
            self._clock.bar_step = bar.done
        yield from self._phase_now(line)
        yield Progress(
            at=self._at,
            source=self._source,
            kind=kind,
            description=bar.description,
            done=bar.done,
            total=bar.total,
            elapsed_s=bar.elapsed_s,
            seconds_per_item=bar.seconds_per_item,
        )

    def _metrics(self, metrics: Metrics, line: int) -> Iterator[Observation]:
        numbers = metrics.numbers
        if metrics.kind is MetricsKind.SUMMARY:
            yield from self._fact("train_loss", numbers["train_loss"], line)
            if "train_runtime" in numbers:
                yield from self._fact("train_runtime_s", numbers["train_runtime"], line)
            yield from self._enter(Phase.FINISHED, line)
            return
        epoch = numbers.get("epoch")
        if metrics.kind is MetricsKind.EVAL:
            yield self._eval_point(metrics, line)
            return
        self._trained = True
        yield from self._restarted(line)
        step = metrics.step
        total = numbers.get("total_steps")
        if step is None:
            step = self._clock.train_step(epoch, metrics.epoch_error)
        elif total is not None:
            numbers = {key: value for key, value in numbers.items() if key != "total_steps"}
            yield from self._fact("total_steps", int(total), line)
        yield self._train_step(numbers, step, line)

    def _eval_point(self, metrics: Metrics, line: int) -> EvalPoint:
        numbers = metrics.numbers
        epoch = numbers.get("epoch")
        extra = {key: value for key, value in numbers.items() if key not in _NOT_EXTRA}
        self._phases.see_eval_metrics()
        step = self._clock.eval_step(epoch, metrics.epoch_error)
        loss = numbers.get("eval_loss")
        return EvalPoint(self._at, self._source, line, step, loss, epoch, extra)

    def _train_step(self, numbers: Mapping[str, float], step: int | None, line: int) -> TrainStep:
        extra = {key: value for key, value in numbers.items() if key not in _NOT_EXTRA}
        return TrainStep(
            at=self._at,
            source=self._source,
            line=line,
            step=step,
            total_steps=self._clock.total_steps,
            loss=numbers.get("loss"),
            grad_norm=numbers.get("grad_norm"),
            learning_rate=numbers.get("learning_rate"),
            epoch=numbers.get("epoch"),
            extra=extra or NOTHING,
        )

    def _told(self, message: str, line: int) -> Iterator[Observation]:
        """Read the facts and the phase that a line tells."""
        if not tells_anything(message):
            return
        phase = find_phase(message)
        if phase is Phase.TRAINING:
            self._begin_training()
        if phase is not None:
            yield from self._enter(phase, line)
        for name, value in find_facts(message):
            if name == "rank":
                if value == 0 and self._phase in _OVER:
                    self._phases.see_start()
                    yield from self._phase_now(line)
                continue  # each rank tells its own: none is a fact of the run
            if name in _TRAIN_FACTS and self._phase is Phase.EVALUATING:
                continue  # an evaluation's header has its own
            yield from self._fact(name, value, line)

    def _begin_training(self) -> None:
        self._restarting = self._restarting or self._trained
        self._trained = True
        self._clock = StepClock()
        self._facts.clear()
        self._failures.forget()

    def _restarted(self, line: int) -> Iterator[Observation]:
        """Tell, once the step is known at which it goes on, that the log holds a new training."""
        if self._restarting:
            self._restarting = False
            step = self._clock.resumed_step + 1
            yield RunFact(self._at, self._source, line, "restart", step)

    def _fact(self, name: str, value: float | str, line: int) -> Iterator[Observation]:
        self._clock.see_fact(name, value)
        if name == "total_steps" and isinstance(value, int):
            self._phases.see_total(value)
        if self._facts.get(name) != value:
            self._facts[name] = value
            yield RunFact(self._at, self._source, line, name, value)

    def _enter(self, phase: Phase, line: int) -> Iterator[Observation]:
        self._phases.see_header(phase)
        if phase is Phase.TRAINING:
            self._phase = Phase.STARTING  # told again: it is another training
        yield from self._phase_now(line)

    def _phase_now(self, line: int) -> Iterator[Observation]:
        if self._phases.phase is not self._phase:
            self._phase = self._phases.phase
            yield PhaseChange(self._at, self._source, line, self._phase)
