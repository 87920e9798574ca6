"""The parameter groups of a PyTorch optimizer: their names, and setting their rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from torch import Tensor

if TYPE_CHECKING:
    import torch

    from lrs.rates import Directive

#: The decision lag if the loss is on a device, so that no step waits for the device.
_DEVICE_LAG: Final = 8


def group_names(optimizer: torch.optim.Optimizer) -> list[str]:
    """The names of an optimizer's groups: their `name`, or else `default` for a single group, or `group0` and so on."""
    groups = optimizer.param_groups
    if len(groups) == 1:
        return [str(groups[0].get("name", "default"))]
    return [str(group.get("name", f"group{index}")) for index, group in enumerate(groups)]


def usual_lag(optimizer: torch.optim.Optimizer) -> int:
    """The default decision lag: 1 if all parameters are on the host, else 8."""
    on_host = all(p.device.type == "cpu" for group in optimizer.param_groups for p in group["params"])
    return 1 if on_host else _DEVICE_LAG


def plain_rate(rate: float | Tensor) -> float:
    """A rate as a number. May wait for a device, so it must not be called in the loop."""
    return float(rate)


def base_rates_of(optimizer: torch.optim.Optimizer) -> list[float]:
    """The base rates of an optimizer's groups: their `initial_lr`, which is set to their `lr` if they have none."""
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", plain_rate(group["lr"]))
    return [plain_rate(group["initial_lr"]) for group in optimizer.param_groups]


def set_groups(optimizer: torch.optim.Optimizer, directive: Directive) -> None:
    """Set the rates of all groups, and the momenta and weight decays in the directive."""
    # A group that one of the two does not know yet keeps its rate: groups are added at the end, on both sides.
    for index, (group, rate) in enumerate(zip(optimizer.param_groups, directive.rates, strict=False)):
        set_rate(group, rate)
        if directive.momenta and (momentum := directive.momenta[index]) is not None:
            _set_momentum(group, momentum)
        if directive.weight_decays and (decay := directive.weight_decays[index]) is not None:
            group["weight_decay"] = decay


def set_rate(group: dict[str, Any], rate: float) -> None:
    """Set the rate of a group. A tensor is set in place, because it may be part of a captured graph."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    elif "momentum" in group:
        group["momentum"] = momentum
