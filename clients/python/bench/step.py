"""The cost of a step to the training thread, compared with PyTorch's own scheduler, and the cost of the background threads.

The last line is JSON. Needs a server's program: `LRS_BINARY`, or what cargo built.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import bare_stream
import torch

import lrs
import lrs.torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack

    from lrs.arguments import JobArguments

STEPS = 20_000
PACE = 0.01
SECONDS = 20.0
PLATEAU = [{"reduce_lr_on_plateau": {"patience": 1000}}]


def training() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """A model and an optimizer, small enough not to hide the scheduler's cost."""
    model = torch.nn.Linear(8, 1)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def work(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    """One update."""
    optimizer.zero_grad()
    loss = model(torch.ones(4, 8)).square().mean()
    loss.backward()
    optimizer.step()
    return loss


def step_cost(server: Server) -> tuple[float, float]:
    """Median seconds of a step of PyTorch's scheduler and of ours, in turns after the same work."""
    model, optimizer = training()
    twin, twin_optimizer = training()
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(twin_optimizer, T_max=STEPS)
    ours = lrs.torch.LRScheduler(
        optimizer, "bench/step", server=server.url, model=model, total_steps=STEPS, schedule={"cosine": {}}
    )
    took: dict[str, list[float]] = {"theirs": [], "ours": []}
    clock = time.perf_counter
    for _ in range(STEPS):
        loss = work(model, optimizer).item()
        before = clock()
        ours.step(loss)
        took["ours"].append(clock() - before)
        work(twin, twin_optimizer).item()
        before = clock()
        theirs.step()
        took["theirs"].append(clock() - before)
    ours.close()
    assert ours.core is not None
    print(f"steps on the plan: {ours.core.fallback_steps.count} of {STEPS}")
    return statistics.median(took["theirs"]), statistics.median(took["ours"])


def background(server: Server, job: str, **arguments: Unpack[JobArguments]) -> float:
    """The share of a core that the background threads use at 100 steps a second."""
    scheduler = lrs.Scheduler(job, server=server.url, groups=0.1, total_steps=100_000, **arguments)
    for _ in range(100):
        scheduler.step(0.5)
        time.sleep(PACE)

    def train() -> None:
        due = time.perf_counter()
        over = due + SECONDS
        while due < over:
            scheduler.step(0.5)
            due += PACE
            time.sleep(max(0.0, due - time.perf_counter()))

    share = share_of_others(train)
    scheduler.close()
    return share


def share_of_others(work: Callable[[], None]) -> float:
    """The share of a core that the other threads of this process use while this thread works."""
    process, thread, began = time.process_time(), time.thread_time(), time.perf_counter()
    work()
    return (time.process_time() - process - time.thread_time() + thread) / (time.perf_counter() - began)


def bare(exchanges: float) -> float:
    """The share of a core that gRPC alone uses for so many exchanges a second."""
    messages = bare_stream.open_stream()
    bare_stream.exchange(messages, 1 / exchanges, 1.0)
    share = share_of_others(lambda: bare_stream.exchange(messages, 1 / exchanges, SECONDS))
    messages.put(None)
    return share


def main() -> None:
    """Measure, and print."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory))
        try:
            theirs, ours = step_cost(server)
            shares = {
                "schedule only": background(server, "bench/open", schedule={"cosine": {}}),
                "controller, decision lag 8": background(server, "bench/lag8", controllers=PLATEAU, decision_lag=8),
                "controller, decision lag 16": background(server, "bench/lag16", controllers=PLATEAU, decision_lag=16),
                "controller, decision lag 1": background(server, "bench/lag1", controllers=PLATEAU, decision_lag=1),
                # At a lag of 8, seven steps make an exchange.
                "a bare stream with as many exchanges as at lag 8": bare(1 / PACE / 7),
            }
        finally:
            server.kill()
    print(f"step: CosineAnnealingLR {theirs * 1e6:.2f} µs, lrs {ours * 1e6:.2f} µs")
    for what, share in shares.items():
        print(f"background at 100 steps/s, {what}: {share:.2%} of a core")
    print(json.dumps({"bench": "python", "step_ratio_to_torch": round(ours / theirs, 3)}))


if __name__ == "__main__":  # the process at the bare stream's other end imports this file again
    main()
