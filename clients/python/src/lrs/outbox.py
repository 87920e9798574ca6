"""Telemetry that is not durable yet: kept until it is acknowledged, and sent again on every new stream.

Samples are in step order and each closes its step, so an acknowledgement is a step: all at or below it is durable. Past a
bound the oldest go to a file, in the messages they will be sent in.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from lrs.rates import Standing
from lrs.v1.learning_rate_service_pb2 import MetricSeries, StreamTelemetryRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lrs.spill import Spill

#: Samples a message: small enough for the service's bound, large enough to catch up quickly.
MESSAGE_SAMPLES = 1000
#: The metric that says, at the steps that have one, that the step was trained without the service's last word: 1 on the
#: plan, 2 on held rates.
FALLBACK_METRIC = "lrs_fallback"


class Sample(NamedTuple):
    """What is reported of one step."""

    step: int
    """The step."""
    loss: float | None
    """The training loss."""
    grad_norm: float | None
    """The norm of the whole gradient before clipping."""
    learning_rate: float | None
    """The learning rate of the first group that was really used."""
    metrics: Mapping[str, float] | None
    """Evaluations and other figures, by name."""
    standing: Standing
    """How sure the directive was that the step was trained at."""


class Outbox:
    """A queue whose oldest part may lie in a file. Used by the link's threads, one at a time."""

    def __init__(self, limit: int, spill: Spill) -> None:
        self.lost = 0
        """Samples given up because the file could not take them."""
        self._limit = limit
        self._spill = spill
        # In step order: what is in the file, then `_sent`, then `_waiting`.
        self._sent: deque[Sample] = deque()
        self._waiting: deque[Sample] = deque()
        self._sent_through = -1

    def __len__(self) -> int:
        return self._spill.samples + len(self._sent) + len(self._waiting)

    @property
    def in_memory(self) -> int:
        """How many samples are kept in memory."""
        return len(self._sent) + len(self._waiting)

    def push(self, sample: Sample) -> None:
        """Take a sample over; steps rise."""
        self._waiting.append(sample)
        if len(self._sent) + len(self._waiting) > self._limit:
            self._make_room()

    def begin_stream(self) -> None:
        """A new stream has been opened: all that is kept is to be sent on it."""
        self._sent.extend(self._waiting)
        self._waiting, self._sent = self._sent, deque()
        self._sent_through = -1

    def next_message(self) -> StreamTelemetryRequest | None:
        """The next message for this stream; it counts as sent."""
        spilled = self._spill.after(self._sent_through)
        if spilled is not None:
            self._sent_through = spilled.through_step
            return spilled
        if not self._waiting:
            return None
        batch = _take_batch(self._waiting)
        self._sent.extend(batch)
        self._sent_through = batch[-1].step
        return message(batch)

    def acknowledge(self, through_step: int) -> None:
        """All at or below a step is durable."""
        self._spill.forget_through(through_step)
        for queue in (self._sent, self._waiting):
            while queue and queue[0].step <= through_step:
                queue.popleft()

    def discard(self) -> None:
        """Forget everything: the service will not take it."""
        self._sent.clear()
        self._waiting.clear()
        self._spill.clear()

    def close(self) -> None:
        """Give the file back."""
        self._spill.close()

    def _make_room(self) -> None:
        """Move the oldest half of what is in memory to the file."""
        for _ in range(max(1, self._limit // 2 // MESSAGE_SAMPLES)):
            source = self._sent or self._waiting
            if not source:
                return
            batch = _take_batch(source)
            if not self._spill.append(message(batch)):
                self.lost += len(batch)


def _take_batch(samples: deque[Sample]) -> list[Sample]:
    """The first samples that can share a message: columns have a value for every step or none."""
    first = samples[0]
    shape = (first.loss is None, first.grad_norm is None, first.learning_rate is None)
    batch: list[Sample] = []
    while samples and len(batch) < MESSAGE_SAMPLES:
        sample = samples[0]
        if (sample.loss is None, sample.grad_norm is None, sample.learning_rate is None) != shape:
            break
        batch.append(samples.popleft())
    return batch


def message(batch: list[Sample]) -> StreamTelemetryRequest:
    """Samples of one shape in columns, closing the last of their steps."""
    request = StreamTelemetryRequest(
        step=[sample.step for sample in batch],
        loss=[sample.loss for sample in batch if sample.loss is not None],
        grad_norm=[sample.grad_norm for sample in batch if sample.grad_norm is not None],
        learning_rate=[sample.learning_rate for sample in batch if sample.learning_rate is not None],
        through_step=batch[-1].step,
    )
    series: dict[str, MetricSeries] = {}
    final = Standing.FINAL
    for sample in batch:
        if not sample.metrics and sample.standing is final:
            continue
        metrics = dict(sample.metrics) if sample.metrics else {}
        if sample.standing is not final:
            metrics[FALLBACK_METRIC] = float(sample.standing)
        for name, value in metrics.items():
            column = series.setdefault(name, MetricSeries(name=name))
            column.step.append(sample.step)
            column.value.append(value)
    request.metrics.extend(series.values())
    return request
