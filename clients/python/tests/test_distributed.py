"""Several ranks of PyTorch: rank 0 asks and reports, and all ranks always use the same rates."""

import json

from processes import run

RANKS = """
import json, os, signal, sys
import torch, torch.distributed as dist, torch.multiprocessing as mp
import lrs.torch

def train(rank, world, job, server, out):
    # The ranks find each other through a file: another program could take a port.
    dist.init_process_group("gloo", init_method=f"file://{out}/ranks", rank=rank, world_size=world)
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    ddp = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.05)
    scheduler = lrs.torch.LRScheduler(
        optimizer, job, server=server, total_steps=200, deadline=0.05 if sys.argv[4:] else 5.0, model=model,
        controllers=[{"reduce_lr_on_plateau": {"patience": 2, "factor": 0.5, "threshold": 0.5}}],
    )
    assert (scheduler.core is None) == (rank != 0)
    rates = []
    generator = torch.Generator().manual_seed(rank)
    for step in range(40):
        if sys.argv[4:] and step == 20 and rank == 0:
            os.kill(int(sys.argv[4]), signal.SIGKILL)
        x = torch.randn(8, 4, generator=generator)
        optimizer.zero_grad()
        loss = (ddp(x) - x.sum(1, keepdim=True)).square().mean()
        loss.backward()
        if scheduler.guard(loss):
            optimizer.step()
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step(loss)
    state = scheduler.state_dict()
    with open(f"{out}/{rank}.json", "w") as file:
        json.dump({"rates": rates, "state": state, "weights": model.weight.tolist()}, file)
    scheduler.close(0.1 if sys.argv[4:] else None)
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.start_processes(train, args=(3, *sys.argv[1:4]), nprocs=3, start_method="fork")
"""

WRONG = """
import sys
import torch, torch.distributed as dist, torch.multiprocessing as mp
import lrs.torch

def train(rank, job, server, out):
    dist.init_process_group("gloo", init_method=f"file://{out}/ranks", rank=rank, world_size=2)
    optimizer = torch.optim.SGD(torch.nn.Linear(4, 1).parameters(), lr=0.05)
    with open(f"{out}/{rank}", "w") as file:
        try:
            lrs.torch.LRScheduler(optimizer, job + "-unknown", server=server)
        except lrs.JobNotFoundError as problem:
            print(problem.reason, problem, file=file)
        scheduler = lrs.torch.LRScheduler(optimizer, job, server=server, total_steps=10)
        try:
            scheduler.load_state_dict({"version": 1, "job": "namespaces/a/jobs/b", "step": 3, "attempt": 1})
        except lrs.ResumeError as problem:
            print(problem.reason, problem, file=file)
    scheduler.close()
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.start_processes(train, args=sys.argv[1:], nprocs=2, start_method="fork")
"""


def results(directory):
    return [json.loads((directory / f"{rank}.json").read_text()) for rank in range(3)]


def test_all_ranks_use_the_rates_that_one_was_told(server, job, tmp_path):
    run(RANKS, job, server.url, str(tmp_path), timeout=120)
    first, second, third = results(tmp_path)
    assert first == second == third
    assert first["state"]["step"] == 40
    assert len(set(first["rates"])) > 1, "the controller has lowered the rate"
    record = server.record(job)
    assert record["learning_rate"] == dict(enumerate(first["rates"]))
    assert len(server.attempts(job)) == 1


def test_the_fallback_of_the_rank_that_asks_is_everyone_s(own_server, job, tmp_path):
    run(RANKS, job, own_server.url, str(tmp_path), str(own_server.process.pid), timeout=120)
    first, second, third = results(tmp_path)
    assert first == second == third
    assert len(first["rates"]) == 40, "all ranks went on to the end"


def test_what_is_wrong_is_raised_on_all_ranks(server, job, tmp_path):
    run(WRONG, job, server.url, str(tmp_path), timeout=120)
    first, second = ((tmp_path / str(rank)).read_text() for rank in range(2))
    assert first == second
    assert [line.split()[0] for line in first.splitlines()] == ["JOB_NOT_FOUND", "OTHER_JOB"]
