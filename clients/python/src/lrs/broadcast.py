"""Distributed training with PyTorch: rank 0 asks the service, and all ranks use its directives, fallbacks included."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from lrs.rates import Action, Directive, Standing

if TYPE_CHECKING:
    from collections.abc import Sequence

# step, standing, clip_norm, skip_above_norm, whether actions or advice follow
_HEAD = 5


class Broadcast:
    """A group of ranks that exchange directives over the host's network. All ranks must make it together."""

    def __init__(self, groups: int) -> None:
        self._groups = groups
        # NCCL's tensors are on the GPU, and the host would wait for the GPU to read them.
        self._ranks: dist.ProcessGroup | None = dist.new_group(backend="gloo")  # type: ignore[assignment]
        self._row = torch.zeros(_HEAD + 3 * groups, dtype=torch.float64)

    @property
    def is_asker(self) -> bool:
        """Whether this rank asks the service."""
        return dist.get_rank() == 0

    def send(self, directive: Directive, actions: Sequence[Action]) -> None:
        """Send a directive to all other ranks. Only the asking rank calls this."""
        words = bool(actions or directive.stop_advice)
        self._row.copy_(torch.tensor(_numbers(directive, words, self._groups), dtype=torch.float64))
        dist.broadcast(self._row, src=0, group=self._ranks)
        if words:
            said = [[list(action) for action in actions], directive.stop_advice]
            dist.broadcast_object_list([said], src=0, group=self._ranks)

    def receive(self) -> Directive:
        """Wait for the directive that the asking rank sends. The other ranks call this."""
        dist.broadcast(self._row, src=0, group=self._ranks)
        row: list[float] = self._row.tolist()
        actions: tuple[Action, ...] = ()
        advice = ""
        if row[4]:
            box: list[Any] = [None]
            dist.broadcast_object_list(box, src=0, group=self._ranks)
            listed, advice = box[0]
            actions = tuple([Action(*action) for action in listed])
        rates, momenta, decays = (row[_HEAD + at * self._groups :][: self._groups] for at in range(3))
        some_momenta, some_decays = _present(momenta), _present(decays)
        return Directive(
            int(row[0]),
            tuple([rate for rate in rates if not math.isnan(rate)]),
            Standing(int(row[1])),
            some_momenta,
            some_decays,
            _maybe(row[2]),
            _maybe(row[3]),
            actions,
            advice,
            not (some_momenta or some_decays or actions),
        )

    def share(self, value: object) -> Any:  # noqa: ANN401 (any value)
        """Send the asking rank's value to all ranks, and return it on each."""
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._ranks)
        return box[0]


def is_distributed() -> bool:
    """Whether PyTorch runs several ranks and this process is one of them."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _numbers(directive: Directive, words: bool, groups: int) -> list[float]:
    head = [
        float(directive.step),
        float(directive.standing),
        math.nan if directive.clip_norm is None else directive.clip_norm,
        math.nan if directive.skip_above_norm is None else directive.skip_above_norm,
        float(words),
    ]
    columns = [_column(directive.momenta, groups), _column(directive.weight_decays, groups)]
    # The service may know fewer or more groups than the trainer; both add groups at the end.
    rates = [*directive.rates[:groups], *[math.nan] * (groups - len(directive.rates))]
    return head + rates + columns[0] + columns[1]


def _column(values: Sequence[float | None], groups: int) -> list[float]:
    known = [math.nan if value is None else value for value in values[:groups]]
    return known + [math.nan] * (groups - len(known))


def _present(values: Sequence[float]) -> tuple[float | None, ...]:
    read = tuple([_maybe(value) for value in values])
    return read if any(value is not None for value in read) else ()


def _maybe(value: float) -> float | None:
    return None if math.isnan(value) else value
