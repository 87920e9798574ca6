"""Telemetry that the service has not stored yet: kept until acknowledged, and sent again on every new stream.

Samples are in step order, and each closes its step. The service acknowledges a step: it has stored all samples up to that
step. When too many samples are in memory, the oldest go to a file, in the messages to send.

The newest acknowledged samples are kept too: the service answers the opening of a stream with the step up to which telemetry
is stored, and when its database has lost some, as after a failover, they are sent again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from lrs.rates import Standing
from lrs.v1.learning_rate_service_pb2 import MetricSeries, StreamTelemetryRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lrs.spill import Spill

#: Samples in a message: few enough for the service's bound, and enough to catch up quickly.
MESSAGE_SAMPLES = 1000
#: Acknowledged samples that are kept in case the service loses them.
KEPT_SAMPLES = 1024
#: The metric that marks a step trained without a final directive: 1 if it was trained on the plan, 2 if on held rates.
FALLBACK_METRIC = "lrs_fallback"


class Sample(NamedTuple):
    """The telemetry of a step."""

    step: int
    """The step."""
    loss: float | None
    """The training loss."""
    grad_norm: float | None
    """The norm of the whole gradient before clipping."""
    learning_rate: float | None
    """The learning rate of the first group, as it was used."""
    metrics: Sequence[tuple[str, float]] | None
    """Evaluations and other figures by name, in the order they were measured. A name may repeat."""
    standing: Standing
    """The standing of the directive that the step was trained with."""


class Outbox:
    """A queue whose oldest part may be in a file. Only a thread at a time may use it."""

    def __init__(self, limit: int, spill: Spill) -> None:
        self.lost = 0
        """How many samples were dropped because the file could not take them."""
        self._limit = limit
        self._spill = spill
        # In step order: first the file, then `_sent`, then `_waiting`.
        self._sent: deque[Sample] = deque()
        self._waiting: deque[Sample] = deque()
        self._sent_through = -1
        # Acknowledged samples, which come before those. Those after `_durable_through` were lost, and are sent again.
        self._kept: deque[Sample] = deque(maxlen=KEPT_SAMPLES)
        self._again: deque[Sample] = deque()
        self._durable_through = -1

    def __len__(self) -> int:
        lost = sum(1 for sample in self._kept if sample.step > self._durable_through)
        return lost + self._spill.samples + len(self._sent) + len(self._waiting)

    @property
    def has_acknowledged(self) -> bool:
        """Whether the service has acknowledged anything, which it can lose."""
        return bool(self._kept)

    @property
    def in_memory(self) -> int:
        """The number of samples in memory."""
        return len(self._sent) + len(self._waiting)

    def push(self, sample: Sample) -> None:
        """Add a sample. Steps must rise."""
        self._waiting.append(sample)
        if len(self._sent) + len(self._waiting) > self._limit:
            self._make_room()

    def begin_stream(self) -> None:
        """Prepare to send all samples on a new stream."""
        self._sent.extend(self._waiting)
        self._waiting, self._sent = self._sent, deque()
        self._sent_through = -1
        self._again.clear()

    def resume(self, through_step: int) -> range:
        """Note that telemetry is stored up to a step, as a new stream begins; return the steps that are lost for good.

        Acknowledged samples after it are sent again, before all others.
        """
        acknowledged = max(self._durable_through, self._kept[-1].step if self._kept else -1)
        if through_step >= acknowledged:
            self.acknowledge(through_step)
            return range(0)
        self._durable_through = through_step
        self._again = deque(sample for sample in self._kept if sample.step > through_step)
        first_held = self._again[0].step if self._again else acknowledged + 1
        return range(through_step + 1, first_held)

    def next_message(self) -> StreamTelemetryRequest | None:
        """The next message for this stream, if any. It counts as sent."""
        if self._again:
            return message(_take_batch(self._again))
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
        """Drop the samples up to a step, which the service has stored."""
        self._durable_through = max(self._durable_through, through_step)
        self._spill.forget_through(through_step)
        for queue in (self._sent, self._waiting):
            while queue and queue[0].step <= through_step:
                self._kept.append(queue.popleft())

    def discard(self) -> None:
        """Drop all samples, because the service refuses them."""
        for queue in (self._sent, self._waiting, self._kept, self._again):
            queue.clear()
        self._spill.clear()

    def close(self) -> None:
        """Close the file."""
        self._spill.close()

    def _make_room(self) -> None:
        """Move the older half of the samples in memory to the file."""
        for _ in range(max(1, self._limit // 2 // MESSAGE_SAMPLES)):
            source = self._sent or self._waiting
            if not source:
                return
            batch = _take_batch(source)
            if not self._spill.append(message(batch)):
                self.lost += len(batch)


def _take_batch(samples: deque[Sample]) -> list[Sample]:
    """Take the first samples that can share a message: a column has a value for every step, or for none."""
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
    """The message for samples that have the same columns. It closes their steps."""
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
        metrics = list(sample.metrics) if sample.metrics else []
        if sample.standing is not final:
            metrics.append((FALLBACK_METRIC, float(sample.standing)))
        for name, value in metrics:
            column = series.setdefault(name, MetricSeries(name=name))
            column.step.append(sample.step)
            column.value.append(value)
    request.metrics.extend(series.values())
    return request
