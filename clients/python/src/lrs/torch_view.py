"""PyTorch: an optimizer that is none of PyTorch's, seen as one, so that `LRScheduler` sets its rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence


class OptimizerView(torch.optim.Optimizer):
    """The parameter groups of another optimizer. It makes no update: the trainer says when the other has made one."""

    def __init__(self, groups: Callable[[], Sequence[MutableMapping[str, Any]]]) -> None:
        """See `OptimizerView`.

        Args:
            groups: The groups as they are now. What is set in them is set in the other optimizer.
        """
        self._groups = groups
        super().__init__([torch.zeros(0)], {"lr": 0.0})

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups as they are now."""
        return list(self._groups())  # type: ignore[arg-type]

    @param_groups.setter
    def param_groups(self, groups: object) -> None:
        """The groups are those of the other optimizer."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Do nothing: groups are added to the other optimizer."""

    def before_update(self) -> None:
        """Call the hooks that look before an update."""
        for hook in list(self._optimizer_step_pre_hooks.values()):
            hook(self, (), {})

    def after_update(self) -> None:
        """Call the hooks that look after an update."""
        for hook in list(self._optimizer_step_post_hooks.values()):
            hook(self, (), {})
