"""Owns following trainer_log.jsonl, LLaMA-Factory's own record of a training."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from diagnostics.observations import EvalPoint, Observation, RunFact, SourceFault, TrainStep
from diagnostics.parsing.trainer_log import MAX_ROW_BYTES, TrainerLogRow, parse_row
from diagnostics.sources.tail import Tail


class TrainerLog:
    """Follows the file; one that is not there yet is silence, not a fault.

    `since` is when the present attempt began: rows that lay there before carry the time at which
    the file was last written, so that they are not taken for this attempt's.
    """

    def __init__(self, path: Path, since: float = 0.0) -> None:
        self._since = since
        self._source = path.name
        self._tail = Tail(path)
        self._rest = b""
        self._line = 0
        self._last = -1
        self._total: int | None = None
        self._fault = ""

    def poll(self, now: float) -> Sequence[Observation]:
        """Return the rows since the last poll."""
        try:
            chunk = self._tail.read()
        except FileNotFoundError:
            return ()
        except OSError as error:
            reason = error.strerror or str(error)
            if reason == self._fault:
                return ()
            self._fault = reason
            return (SourceFault(now, self._source, reason),)
        self._fault = ""
        if chunk is None:
            return ()
        at = min(now, chunk.modified_at) if chunk.modified_at < self._since else now
        if chunk.restarted:
            self._rest, self._line = b"", 0
        *lines, self._rest = (self._rest + chunk.data).split(b"\n")
        if len(self._rest) > MAX_ROW_BYTES:
            self._rest = b""
        return [seen for line in lines for seen in self._row(line, at)]

    def close(self) -> None:
        """Close the file."""
        self._tail.close()

    def _row(self, line: bytes, now: float) -> Iterator[Observation]:
        self._line += 1
        row = parse_row(line)
        if row is None:
            return
        if row.total_steps is not None and row.total_steps != self._total:
            self._total = row.total_steps
            yield RunFact(now, self._source, self._line, "total_steps", row.total_steps)
        if row.step < self._last:
            yield RunFact(now, self._source, self._line, "restart", row.step)
        self._last = row.step
        yield from self._points(row, now)

    def _points(self, row: TrainerLogRow, now: float) -> Iterator[Observation]:
        extra = dict(row.extra)
        if row.eval_loss is not None:
            yield EvalPoint(
                now, self._source, self._line, row.step, row.eval_loss, row.epoch, extra
            )
        elif row.loss is not None:
            yield TrainStep(
                at=now,
                source=self._source,
                line=self._line,
                step=row.step,
                total_steps=row.total_steps,
                loss=row.loss,
                grad_norm=row.grad_norm,
                learning_rate=row.learning_rate,
                epoch=row.epoch,
                extra=extra,
                elapsed_s=row.elapsed_s,
            )
