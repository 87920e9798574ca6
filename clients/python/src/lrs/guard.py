"""PyTorch: clipping the gradient to a bound, and leaving out updates that are not finite.

With several ranks, all of them decide by the joint norm of the gradient, so that all make an update or none does. The
host never reads a gradient from a GPU, because it would wait for the GPU: the GPU itself decides by the norm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lrs.contract import Skipped
from lrs.joint_norm import local_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Verdict(NamedTuple):
    """What is done to an update."""

    makes: bool
    """Whether the trainer makes the update."""
    skipped: Skipped | Tensor | None = None
    """Why the update is left out. A tensor: a device knows, 0 if it makes the update."""


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The parameters of an optimizer that have a gradient."""
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def gradients_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The gradients of an optimizer's parameters."""
    return [parameter.grad for parameter in parameters_of(optimizer) if parameter.grad is not None]


def clip_gradients(parameters: Iterable[Tensor], bound: float | None) -> Tensor:
    """Scale this process' gradients so that their joint 2-norm is at most `bound`, and return the norm before scaling."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm = torch.nn.utils.get_total_norm(gradients)
    clip_to(gradients, norm, bound)
    return norm


def clip_to(gradients: Sequence[Tensor], norm: Tensor, bound: float | None) -> None:
    """Scale gradients whose joint norm is `norm` so that it is at most `bound`.

    Scales nothing if `bound` is `None`, or if the norm is not finite: such an update should be left out.
    """
    if bound is None or not gradients:
        return
    factor = torch.clamp(bound / (norm + 1e-6), max=1.0)
    factor = torch.where(torch.isfinite(norm), factor, torch.ones_like(factor))
    parts = [local_part(gradient) for gradient in gradients]
    torch._foreach_mul_(parts, factor.to(parts[0].device))


def judge(
    optimizer: torch.optim.Optimizer, loss: Tensor | float | None, norm: Tensor, skip_above_norm: float | None
) -> Verdict:
    """Whether to make this update: whether loss and norm are finite, and the norm is not above `skip_above_norm`.

    If loss or norm is on a GPU, the answer is always yes, and the GPU leaves the update out: a fused optimizer leaves
    it out entirely; any other optimizer gets a gradient of zeros, so that momentum and weight decay still move the
    parameters.
    """
    on_device = norm.device.type != "cpu" or (isinstance(loss, Tensor) and loss.device.type != "cpu")
    if not on_device:
        number = float(norm.detach())
        if (loss is not None and not _is_finite(_number(loss))) or not _is_finite(number):
            return Verdict(False, Skipped.NOT_FINITE)
        if skip_above_norm is not None and number > skip_above_norm:
            return Verdict(False, Skipped.ABOVE_BOUND)
        return Verdict(True)
    sound = torch.isfinite(norm)
    if isinstance(loss, Tensor):
        sound = sound & torch.isfinite(loss.detach()).all().to(sound.device)
    skipped = (~sound).to(torch.float32) * float(Skipped.NOT_FINITE)
    if skip_above_norm is not None:
        above = sound & (norm > skip_above_norm)
        sound = sound & ~above
        skipped = skipped + above.to(torch.float32) * float(Skipped.ABOVE_BOUND)
    if getattr(optimizer, "_step_supports_amp_scaling", False) and getattr(optimizer, "grad_scale", None) is None:
        # A GradScaler sets this too: the fused kernel reads it, and changes nothing if it is 1.
        optimizer.found_inf = (~sound).to(torch.float32)  # type: ignore[attr-defined]
        return Verdict(True, skipped)
    for gradient in gradients_of(optimizer):
        part = local_part(gradient)
        # Not multiplied by zero: zero times NaN is NaN.
        part.masked_fill_(~sound.to(part.device), 0.0)
    return Verdict(True, skipped)


def _number(loss: Tensor | float) -> float:
    return float(loss.detach() if isinstance(loss, Tensor) else loss)


def _is_finite(number: float) -> bool:
    return number - number == 0.0
