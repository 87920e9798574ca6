"""Distributed training with PyTorch: rank 0 asks the service, and all ranks use its directives, fallbacks included."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from lrs.rates import Action, Directive, Standing

if TYPE_CHECKING:
    from collections.abc import Sequence

# step, standing, clip_norm, skip_above_norm, the kind of message, the attempt's number, the number of groups
_HEAD = 7
# The kinds: the row says everything; actions and advice follow; the whole directive follows, as the row is too short.
_ROW, _WORDS, _WHOLE = range(3)
# Room for groups that are added during the training.
_MIN_GROUPS = 16


class Broadcast:
    """A group of ranks that exchange directives over the host's network. All ranks must make it together."""

    def __init__(self, groups: int) -> None:
        self._groups = max(_MIN_GROUPS, 2 * groups)
        # NCCL's tensors are on the GPU, and the host would wait for the GPU to read them.
        self.group: dist.ProcessGroup | None = dist.new_group(backend="gloo")  # type: ignore[assignment]
        """The ranks, for tensors in the host's memory."""
        self._row = torch.zeros(_HEAD + 3 * self._groups, dtype=torch.float64)

    @property
    def is_asker(self) -> bool:
        """Whether this rank asks the service."""
        return dist.get_rank() == 0

    def send(self, directive: Directive, attempt: int) -> None:
        """Send a directive, and the attempt's number, to all other ranks. Only the asking rank calls this."""
        fits = len(directive.rates) <= self._groups
        kind = _WHOLE if not fits else _WORDS if directive.actions or directive.stop_advice else _ROW
        self._row.copy_(torch.tensor(_numbers(directive, kind, attempt, self._groups), dtype=torch.float64))
        dist.broadcast(self._row, src=0, group=self.group)
        if kind == _WHOLE:
            self.share(tuple(directive))
        elif kind == _WORDS:
            self.share([[list(action) for action in directive.actions], directive.stop_advice])

    def receive(self) -> tuple[Directive, int]:
        """Wait for the directive and the attempt's number that the asking rank sends. The other ranks call this."""
        dist.broadcast(self._row, src=0, group=self.group)
        row: list[float] = self._row.tolist()
        kind, attempt, groups = int(row[4]), int(row[5]), int(row[6])
        if kind == _WHOLE:
            whole = Directive(*self.share(None))
            return whole._replace(actions=tuple([Action(*action) for action in whole.actions])), attempt
        listed, advice = self.share(None) if kind == _WORDS else ([], "")
        actions = tuple([Action(*action) for action in listed])
        rates, momenta, decays = (row[_HEAD + at * self._groups :][:groups] for at in range(3))
        some_momenta, some_decays = _present(momenta), _present(decays)
        directive = Directive(
            int(row[0]),
            tuple(rates),
            Standing(int(row[1])),
            some_momenta,
            some_decays,
            _maybe(row[2]),
            _maybe(row[3]),
            actions,
            advice,
            not (some_momenta or some_decays or actions),
        )
        return directive, attempt

    def share(self, value: object) -> Any:  # noqa: ANN401 (any value)
        """Send the asking rank's value to all ranks, and return it on each."""
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.group)
        return box[0]

    def mean(self, value: torch.Tensor | float | None) -> float | None:
        """The mean of the ranks that have a value; `None` if none has. All ranks must call this together."""
        known = torch.tensor([0.0 if value is None else float(value), float(value is not None)], dtype=torch.float64)
        dist.all_reduce(known, group=self.group)
        total, count = known.tolist()
        return total / count if count else None

    def gather(self, value: object) -> list[Any]:
        """The values of all ranks, in their order."""
        box: list[Any] = [None] * dist.get_world_size(self.group)
        dist.all_gather_object(box, value, group=self.group)
        return box


def is_distributed() -> bool:
    """Whether PyTorch runs several ranks and this process is one of them."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _numbers(directive: Directive, kind: int, attempt: int, groups: int) -> list[float]:
    head = [
        float(directive.step),
        float(directive.standing),
        math.nan if directive.clip_norm is None else directive.clip_norm,
        math.nan if directive.skip_above_norm is None else directive.skip_above_norm,
        float(kind),
        float(attempt),
        float(len(directive.rates)),
    ]
    columns = (directive.rates, directive.momenta, directive.weight_decays)
    return head + [number for column in columns for number in _column(column, groups)]


def _column(values: Sequence[float | None], groups: int) -> list[float]:
    known = [math.nan if value is None else value for value in values[:groups]]
    return known + [math.nan] * (groups - len(known))


def _present(values: Sequence[float]) -> tuple[float | None, ...]:
    read = tuple([_maybe(value) for value in values])
    return read if any(value is not None for value in read) else ()


def _maybe(value: float) -> float | None:
    return None if math.isnan(value) else value
