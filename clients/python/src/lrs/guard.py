"""PyTorch: the gradient's norm, clipping to a bound, and leaving out updates that are not finite.

The host never reads a gradient from a GPU, because it would wait for the GPU: the GPU itself decides by the norm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The parameters of an optimizer that have a gradient."""
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def clip_gradients(parameters: Iterable[Tensor], bound: float | None) -> Tensor:
    """Scale the gradients so that their joint 2-norm is at most `bound`, and return the norm before scaling.

    Scales nothing if `bound` is `None`, or if the norm is not finite: such an update should be left out.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm = torch.nn.utils.get_total_norm(gradients)
    if bound is not None:
        factor = torch.clamp(bound / (norm + 1e-6), max=1.0)
        factor = torch.where(torch.isfinite(norm), factor, torch.ones_like(factor))
        torch._foreach_mul_(list(gradients), factor.to(gradients[0].device))
    return norm


def leave_out_if_unsound(
    optimizer: torch.optim.Optimizer, loss: Tensor | float | None, norm: Tensor, skip_above_norm: float | None
) -> bool:
    """Whether to make this update: whether loss and norm are finite, and the norm is not above `skip_above_norm`.

    If loss or norm is on a GPU, the answer is always yes, and the GPU leaves the update out: a fused optimizer leaves it out
    entirely; any other optimizer gets a gradient of zeros, so that momentum and weight decay still move the parameters.
    """
    on_device = norm.device.type != "cpu" or (isinstance(loss, Tensor) and loss.device.type != "cpu")
    if not on_device:
        number = float(norm.detach())
        if loss is not None and not _is_finite(_number(loss)):
            return False
        return _is_finite(number) and (skip_above_norm is None or number <= skip_above_norm)
    sound = torch.isfinite(norm)
    if isinstance(loss, Tensor):
        sound = sound & torch.isfinite(loss.detach()).all().to(sound.device)
    if skip_above_norm is not None:
        sound = sound & (norm <= skip_above_norm)
    if getattr(optimizer, "_step_supports_amp_scaling", False) and getattr(optimizer, "grad_scale", None) is None:
        # A GradScaler sets this too: the fused kernel reads it, and changes nothing if it is 1.
        optimizer.found_inf = (~sound).to(torch.float32)  # type: ignore[attr-defined]
        return True
    for parameter in parameters_of(optimizer):
        gradient = parameter.grad
        if gradient is not None:
            # Not multiplied by zero: zero times NaN is NaN.
            gradient.masked_fill_(~sound.to(gradient.device), 0.0)
    return True


def _number(loss: Tensor | float) -> float:
    return float(loss.detach() if isinstance(loss, Tensor) else loss)


def _is_finite(number: float) -> bool:
    return number - number == 0.0
