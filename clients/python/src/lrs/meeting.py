"""Where the processes of a start agree on a nonce: a store of PyTorch, or JAX's coordinator.

The first process to come leaves its nonce, and the others take it, so none waits for another. A collective operation would
wait: a program may make a scheduler on rank 0 alone.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from lrs.launch import Launch

log = logging.getLogger("lrs")

#: How long a store or a coordinator may take to answer, in seconds.
_PATIENCE: Final = 10


def agreed(key: str, nonce: str, started: Launch) -> str | None:
    """The nonce that the processes of a start share under a key; `None` if they meet nowhere."""
    for meeting in (_elastic_agent, _process_group):
        try:
            store = meeting()
            if store is not None:
                return _first_in_store(store, key, nonce, started)
        except Exception as problem:  # noqa: BLE001 (there are other ways)
            log.debug("No nonce from PyTorch's store: %r", problem)
    try:
        return _first_in_jax(key, nonce)
    except Exception as problem:  # noqa: BLE001 (there are other ways)
        log.debug("No nonce from JAX's coordinator: %r", problem)
        return None


def _first_in_store(store: Any, key: str, nonce: str, started: Launch) -> str:  # noqa: ANN401
    # torchrun's store outlives the processes. It counts restarts only after a failure, so each rank counts how often it
    # has been started here.
    starts = store.add(f"{key}/rank{started.rank}", 1)
    return bytes(store.compare_set(f"{key}/nonce{starts}", "", nonce)).decode()


def _elastic_agent() -> Any:  # noqa: ANN401 (a store)
    """The store of torchrun's agent, which every worker can reach before it makes a process group."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    return TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        timeout=timedelta(seconds=_PATIENCE),
        wait_for_workers=False,
    )


def _process_group() -> Any:  # noqa: ANN401 (a store)
    """The store of PyTorch's process group, if there is one. The store of other launchers is as new as the group."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store()


def _first_in_jax(key: str, nonce: str) -> str | None:
    """The first nonce at JAX's coordinator, which is a part of process 0 and ends with it."""
    if "jax" not in sys.modules:
        return None
    from jax._src.distributed import global_state

    client = global_state.client
    if client is None:
        return None
    try:
        client.key_value_set(key, nonce)
    except Exception:  # noqa: BLE001 (another process was the first)
        return str(client.blocking_key_value_get(key, 1000 * _PATIENCE))
    return nonce
