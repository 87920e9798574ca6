"""PyTorch: how far an update moves the weights, as a share of their norm, measured now and then on some of them."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from lrs.joint_norm import local_part

#: The name of the metric.
UPDATE_RATIO: Final = "update_ratio"
#: Every so many updates are measured.
EVERY: Final = 100
#: So many parameters, evenly spread over the model, and so many numbers of each, are looked at.
_PARAMETERS: Final = 8
_NUMBERS: Final = 8192


class UpdateRatio:
    """Measures one update: the norm of the change over the norm of the weights. Nothing waits for a device."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._before: list[tuple[Tensor, Tensor]] = []
        self._ratio: Tensor | None = None
        self._hooks: list[Any] = []

    def watch(self) -> None:
        """Measure the optimizer's next update."""
        self.stop()
        optimizer = self._optimizer
        self._hooks = [
            optimizer.register_step_pre_hook(lambda *_: self._keep()),
            optimizer.register_step_post_hook(lambda *_: self._compare()),
        ]

    def take(self) -> Tensor | None:
        """The ratio, if an update was measured since the last call."""
        ratio, self._ratio = self._ratio, None
        return ratio

    def stop(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._before = [], []

    @torch.no_grad()
    def _keep(self) -> None:
        parameters = [
            p for group in self._optimizer.param_groups for p in group["params"] if p.grad is not None and p.numel()
        ]
        some = parameters[:: max(1, len(parameters) // _PARAMETERS)][:_PARAMETERS]
        self._before = [(parameter, _part(parameter).clone()) for parameter in some]

    @torch.no_grad()
    def _compare(self) -> None:
        before = [(_part(parameter), old) for parameter, old in self._before]
        self.stop()
        if before:
            moved = torch.nn.utils.get_total_norm([new - old for new, old in before])
            norm = torch.nn.utils.get_total_norm([old for _, old in before])
            self._ratio = moved / norm.clamp_min(torch.finfo(norm.dtype).tiny)


def _part(parameter: Tensor) -> Tensor:
    return local_part(parameter.detach()).reshape(-1)[:_NUMBERS].to(torch.float32)
