"""Scalars of PyTorch on their way from a device to the host."""

from __future__ import annotations

import threading
from typing import Any, Final

import torch

from lrs.readings import Reading, not_a_number

#: How many slots to keep for later copies.
_KEPT: Final = 256


class _Slot:
    """A pinned number on the host, and the event that signals its arrival."""

    __slots__ = ("event", "host")

    def __init__(self) -> None:
        self.host = torch.empty((), dtype=torch.float64, pin_memory=True)
        self.event = torch.cuda.Event()  # type: ignore[no-untyped-call]


class CudaReading:
    """A scalar on a CUDA device. Its copy is queued behind the work that computes it."""

    __slots__ = ("_slot",)

    def __init__(self, tensor: torch.Tensor) -> None:
        slot = _take()
        with torch.cuda.device(tensor.device):
            # The device converts the number, so that the copy can be asynchronous.
            slot.host.copy_(tensor.detach().reshape(()).to(torch.float64), non_blocking=True)
            slot.event.record()
        self._slot = slot

    def ready(self) -> bool:
        """Whether the copy has arrived."""
        return bool(self._slot.event.query())  # type: ignore[no-untyped-call]

    def value(self) -> float:
        """The number, from the host's memory."""
        number = float(self._slot.host)
        _give_back(self._slot)
        return number


class OtherDeviceReading:
    """A scalar on another kind of device. The thread that reads it waits; it is not the trainer's thread."""

    __slots__ = ("_tensor",)

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor.detach().clone()

    def ready(self) -> bool:
        """Always true: `value` waits."""
        return True

    def value(self) -> float:
        """The number. May wait for the device."""
        return float(self._tensor)


def tensor_reading(tensor: Any, name: str) -> float | Reading:  # noqa: ANN401 (checked by the caller)
    """The number in a tensor of one element, or a reading of it. Never waits for a device."""
    if tensor.numel() != 1 or tensor.is_complex():
        raise not_a_number(tensor, name)
    if tensor.is_cuda:
        return CudaReading(tensor)
    if tensor.device.type == "cpu":
        # The number is in the host's memory, so there is nothing to wait for.
        return float(tensor.detach())
    return OtherDeviceReading(tensor)


_slots: list[_Slot] = []
_slots_lock = threading.Lock()


def _take() -> _Slot:
    with _slots_lock:
        if _slots:
            return _slots.pop()
    return _Slot()


def _give_back(slot: _Slot) -> None:
    with _slots_lock:
        if len(_slots) < _KEPT:
            _slots.append(slot)
