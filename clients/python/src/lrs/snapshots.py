"""PyTorch: copies of parameters and optimizer state in memory, for tier 2."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lrs.rates import Action


class _OptimizerCopy(NamedTuple):
    """The optimizer's state, in the order of its parameters."""

    state: list[dict[str, Any]]


class Snapshots:
    """Keeps and restores copies of modules, optimizers, and other objects with a `state_dict`.

    Copies are in the host's memory, which is pinned if the original is on a GPU. They are made and restored in place, without
    waiting for the GPU. They do not include the learning rates and the position in the data.
    """

    def __init__(self, *parts: Any) -> None:  # noqa: ANN401 (anything with a state_dict)
        self._parts = parts
        self._kept: dict[str, list[Any]] = {}

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def apply(self, actions: Iterable[Action]) -> None:
        """Carry out the service's actions, in order."""
        for action in actions:
            if action.kind == "snapshot":
                self.keep(action.identifier)
            elif action.kind == "restore":
                self.restore(action.identifier)
            elif action.kind == "forget":
                self.forget(action.identifier)

    def keep(self, identifier: str) -> None:
        """Keep a copy under an identifier. It replaces an older copy of that identifier."""
        with torch.no_grad():
            old = self._kept.get(identifier)
            self._kept[identifier] = [
                _copy(part, old[index] if old is not None else None) for index, part in enumerate(self._parts)
            ]

    def restore(self, identifier: str) -> bool:
        """Restore a copy. Returns false, and changes nothing, if this process has no such copy."""
        kept = self._kept.get(identifier)
        if kept is None:
            return False
        with torch.no_grad():
            for part, saved in zip(self._parts, kept, strict=True):
                _restore(part, saved)
        return True

    def forget(self, identifier: str) -> None:
        """Drop a copy."""
        self._kept.pop(identifier, None)


def _copy(part: Any, old: Any) -> Any:  # noqa: ANN401 (see Snapshots)
    if isinstance(part, torch.nn.Module):
        known = old if isinstance(old, dict) else {}
        return {name: _to_host(tensor, known.get(name)) for name, tensor in _tensors(part)}
    if isinstance(part, torch.optim.Optimizer):
        return _OptimizerCopy([_copy_state(part.state.get(parameter)) for parameter in _parameters(part)])
    return copy.deepcopy(part.state_dict())


def _restore(part: Any, saved: Any) -> None:  # noqa: ANN401 (see Snapshots)
    if isinstance(part, torch.nn.Module):
        for name, tensor in _tensors(part):
            if name in saved:
                tensor.copy_(saved[name], non_blocking=True)
    elif isinstance(part, torch.optim.Optimizer):
        for parameter, state in zip(_parameters(part), saved.state, strict=False):
            _restore_state(part, parameter, state)
    else:
        part.load_state_dict(copy.deepcopy(saved))


def _tensors(module: torch.nn.Module) -> Iterable[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _copy_state(state: dict[str, Any] | None) -> dict[str, Any]:
    return {
        name: _to_host(value, None) if isinstance(value, Tensor) else copy.deepcopy(value)
        for name, value in (state or {}).items()
    }


def _restore_state(optimizer: torch.optim.Optimizer, parameter: Tensor, saved: dict[str, Any]) -> None:
    if not saved:
        optimizer.state.pop(parameter, None)
        return
    state = optimizer.state[parameter]
    for name in [name for name in state if name not in saved]:
        del state[name]
    for name, value in saved.items():
        present = state.get(name)
        if isinstance(value, Tensor) and isinstance(present, Tensor) and present.shape == value.shape:
            present.copy_(value, non_blocking=True)
        elif isinstance(value, Tensor):
            # Adam keeps its step count on the host, unless it is capturable; other state is on the parameter's device.
            on_host = value.dim() == 0 and name == "step"
            state[name] = value.clone() if on_host else value.to(parameter.device, copy=True, non_blocking=True)
        else:
            state[name] = copy.deepcopy(value)


def _to_host(tensor: Tensor, old: Tensor | None) -> Tensor:
    if old is None or old.shape != tensor.shape or old.dtype != tensor.dtype:
        old = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
    # The device's stream orders the copy before any later change of the tensor.
    return old.copy_(tensor.detach(), non_blocking=tensor.is_cuda)
