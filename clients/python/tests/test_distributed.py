"""Several ranks of PyTorch: one asks and reports, and all use the same rates, whatever happens."""

import json

from processes import run

RANKS = """
import json, os, sys, time
import torch, torch.distributed as dist, torch.multiprocessing as mp
import lrs.torch

def train(rank, world, job, server, port, out):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    ddp = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.05)
    scheduler = lrs.torch.LRScheduler(
        optimizer, job, server=server, total_steps=200, deadline=5.0, model=model,
        controllers=[{"reduce_lr_on_plateau": {"patience": 2, "factor": 0.5, "threshold": 0.5}}],
    )
    assert (scheduler.core is None) == (rank != 0)
    rates = []
    generator = torch.Generator().manual_seed(rank)
    for step in range(40):
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
    scheduler.close()
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.start_processes(train, args=(2, *sys.argv[1:]), nprocs=2, start_method="fork")
"""


def test_all_ranks_use_the_rates_that_one_was_told(server, job, tmp_path, free_port):
    run(RANKS, job, server.url, str(free_port), str(tmp_path), timeout=120)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert first["state"]["step"] == 40
    assert len(set(first["rates"])) > 1, "the controller has lowered the rate"
    record = server.record(job)
    assert record["learning_rate"] == dict(enumerate(first["rates"]))
    assert len(server.attempts(job)) == 1
