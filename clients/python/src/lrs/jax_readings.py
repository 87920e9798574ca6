"""Scalars of JAX on their way from a device to the host. This file does not import JAX."""

from __future__ import annotations

from typing import Any

from lrs.readings import not_a_number


class JaxReading:
    """A scalar of JAX, which computes asynchronously on every platform."""

    __slots__ = ("_array",)

    def __init__(self, array: Any, name: str) -> None:  # noqa: ANN401 (jax is not a dependency)
        if array.size != 1:
            raise not_a_number(array, name)
        array.copy_to_host_async()
        self._array = array

    def ready(self) -> bool:
        """Whether JAX has computed the number."""
        return bool(self._array.is_ready())

    def value(self) -> float:
        """The number."""
        return float(self._array.reshape(()))
