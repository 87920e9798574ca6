"""PyTorch: the norm of the whole gradient, the same on all ranks, however a model is spread over them.

A rank may hold all of a model (DDP), a shard of each parameter (FSDP, tensor parallel) or some layers (pipeline parallel). In
each case all ranks get the same number, bit for bit, so that they do the same to an update.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lrs.broadcast import Broadcast

_BITS: Final = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class JointNorm:
    """Computes the joint 2-norm. With several ranks, all of them must call it together."""

    def __init__(self, optimizer: torch.optim.Optimizer, ranks: Broadcast | None) -> None:
        self._optimizer = optimizer
        self._ranks = ranks
        self._copies = 0  # how many ranks hold the same plain parameters as this rank; 0: not known yet

    def __call__(self, gradients: Sequence[Tensor]) -> Tensor:
        """The joint 2-norm of the gradients of all ranks. On a GPU, it is computed there, and nothing waits for it."""
        if self._ranks is None and not any(_is_spread(gradient) for gradient in gradients):
            return torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())
        square = self._square(gradients)
        if self._ranks is not None:
            group = self._ranks.group if square.device.type == "cpu" else dist.group.WORLD
            # A sum, because it keeps a NaN, which a maximum may lose.
            dist.all_reduce(square, op=dist.ReduceOp.SUM, group=group)
        return square.sqrt().to(torch.float32)

    def _square(self, gradients: Sequence[Tensor]) -> Tensor:
        """The part of this rank in the square of the norm: its share of what several ranks hold alike."""
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        device = parameters[0].device if parameters else torch.device("cpu")
        square = torch.zeros((), dtype=torch.float64, device=device)
        plain = [gradient for gradient in gradients if not _is_spread(gradient)]
        if self._ranks is not None and not self._copies:
            self._copies = _copies(parameters, self._ranks)
        if plain:
            norm = torch.nn.utils.get_total_norm(plain).to(device, torch.float64)
            square += norm.square() / max(1, self._copies)
        meshes: dict[Any, list[Tensor]] = {}
        for gradient in gradients:
            if _is_spread(gradient):
                meshes.setdefault(gradient.device_mesh, []).append(gradient)  # type: ignore[attr-defined]
        for mesh, spread in meshes.items():
            norm = torch.nn.utils.get_total_norm(spread).full_tensor().to(device, torch.float64)  # type: ignore[attr-defined]
            square += norm.square() / (mesh.size() if self._ranks is not None else 1)
        return square


def local_part(tensor: Tensor) -> Tensor:
    """The part of a tensor that is on this rank, which shares its memory."""
    part: Tensor = tensor.to_local() if _is_spread(tensor) else tensor  # type: ignore[attr-defined]
    return part


def _is_spread(tensor: Tensor) -> bool:
    """Whether a tensor is a DTensor. Those of FSDP and tensor parallelism are."""
    return hasattr(tensor, "device_mesh") and hasattr(tensor, "to_local")


def _copies(parameters: Sequence[Tensor], ranks: Broadcast) -> int:
    """How many ranks hold the same plain parameters, bit for bit: replicas do, and shards and stages do not."""
    sums = []
    for index, parameter in enumerate(parameters):
        bits = _BITS.get(parameter.element_size())
        if _is_spread(parameter) or parameter.is_complex() or bits is None:
            continue
        # A sum of integers is the same on every kind of device.
        seen = parameter.detach().reshape(-1).view(bits).sum(dtype=torch.int64)
        sums.append(seen.cpu() * (2 * index + 1) + parameter.numel())
    own = int(torch.stack(sums).sum()) if sums else 0
    return ranks.gather(own).count(own)
