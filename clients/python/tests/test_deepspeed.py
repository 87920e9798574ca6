"""DeepSpeed's own schedulers, its ZeRO and 16-bit optimizers, and two ranks."""

import json
import math

import pytest
import torch

from lrs.contract import SKIPPED_METRIC
from lrs.deepspeed import LRScheduler
from processes import run as run_program
from trainer_deepspeed import Trainer, engine_of
from training import PATIENT, Run

SCHEDULERS = {
    "WarmupLR": {"warmup_max_lr": 0.1, "warmup_num_steps": 4},
    "WarmupDecayLR": {"warmup_max_lr": 0.1, "warmup_num_steps": 4, "total_num_steps": 12},
    "WarmupCosineLR": {"warmup_num_steps": 4, "total_num_steps": 12, "warmup_type": "linear"},
    "OneCycle": {"cycle_min_lr": 0.01, "cycle_max_lr": 0.1, "cycle_first_step_size": 5, "cycle_momentum": False},
}
ZERO = {"zero_optimization": {"stage": 1}, "bf16": {"enabled": True, "check_grad_overflow": True}}


def trained(engine, count=12, losses=None):
    used = []
    for at in range(count):
        loss = engine(torch.tensor([1.0 if losses is None else losses[at]]))["loss"]
        engine.backward(loss)
        used.append(engine.basic_optimizer.param_groups[0]["lr"])
        engine.step()
    return used


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_the_configured_scheduler_is_the_job_s(server, job, kind):
    configuration = {"scheduler": {"type": kind, "params": SCHEDULERS[kind]}}
    alone = trained(engine_of(Run([]), **configuration))
    engine = engine_of(Run([]), **configuration)
    with LRScheduler(engine, job, server=server.url, **PATIENT):
        trained(engine)
        assert engine.get_lr() == [engine.basic_optimizer.param_groups[0]["lr"]]
    rates = list(server.record(job)["learning_rate"].values())
    assert rates == pytest.approx(alone, rel=1e-9)
    assert len(set(alone)) > 3


def test_an_optimizer_of_zero_reports_its_norm_and_what_it_skips(server, job):
    trainer = Trainer()
    run = Run([1.0, 2.0, math.inf, 4.0])
    trainer.train(server, job, run, **ZERO)
    record = server.record(job)
    assert record[SKIPPED_METRIC] == {2: 3.0}
    assert trainer.engine.skipped_steps == 1
    assert [record["loss"][step] for step in (0, 1, 3)] == [1.0, 2.0, 4.0]
    assert [record["grad_norm"][step] for step in (0, 1, 3)] == pytest.approx([1.0, 2.0, 4.0])


def test_an_optimizer_of_zero_clips_to_the_service_s_bound_until_the_end(server, job):
    engine = engine_of(Run([]), gradient_clipping=3.0, **ZERO)
    with LRScheduler(engine, job, server=server.url, total_steps=10, **PATIENT) as scheduler:
        trained(engine, 1)
        assert engine.optimizer.clip_grad == 3.0, "the service has no bound yet"
        scheduler.scheduler._directive = scheduler.scheduler._directive._replace(clip_norm=0.5)
        trained(engine, 1)
        assert engine.optimizer.clip_grad == 0.5
    assert engine.optimizer.clip_grad == 3.0
    assert not {"backward", "_take_model_step"} & vars(engine).keys()


def test_a_loop_that_calls_backward_itself_tells_its_loss(server, job):
    engine = engine_of(Run([]))
    with LRScheduler(engine, job, server=server.url, total_steps=10, **PATIENT) as scheduler:
        for number in (1.0, 2.0):
            loss = engine(torch.tensor([number]))["loss"]
            scheduler.add_loss(loss)
            engine._running_engine_backward = True  # plain backward() needs a ZeRO stage above 0
            loss.backward()
            engine.step()
    assert list(server.record(job)["loss"].values()) == [1.0, 2.0]


RANKS = """
import json, os, sys
job, server, out = sys.argv[1:4]
os.environ |= {"DS_ACCELERATOR": "cpu", "DS_BUILD_OPS": "0", "LOCAL_SIZE": "2"}
import torch, torch.distributed as dist, torch.multiprocessing as mp

def train(rank):
    os.environ |= {"LOCAL_RANK": str(rank), "RANK": str(rank), "WORLD_SIZE": "2"}
    import deepspeed, lrs.deepspeed
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{out}/ranks", rank=rank, world_size=2)

    def made():
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        config = {"train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 2,
                  "zero_optimization": {"stage": 1}, "bf16": {"enabled": True}, "zero_allow_untested_optimizer": True}
        engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
        return engine, lrs.deepspeed.LRScheduler(
            engine, job, server=server, total_steps=8, schedule="linear", deadline=20.0, close_timeout=20.0)

    generator, rates, losses = torch.Generator().manual_seed(rank), [], []
    def go(engine):
        for _ in range(8):
            x = torch.randn(2, 4, generator=generator).bfloat16()
            loss = (engine(x) - x.sum(1, keepdim=True)).square().mean()
            engine.backward(loss)
            losses.append(loss.item())
            if engine.is_gradient_accumulation_boundary():
                rates.append(engine.get_lr()[0])
            engine.step()

    engine, scheduler = made()
    with scheduler:
        go(engine)
        engine.save_checkpoint(f"{out}/checkpoint")
    engine, scheduler = made()
    with scheduler:
        engine.load_checkpoint(f"{out}/checkpoint")
        go(engine)
    with open(f"{out}/{rank}.json", "w") as file:
        json.dump({"rates": rates, "losses": losses, "weights": engine.module.weight.tolist()}, file)
    dist.barrier()
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.start_processes(train, nprocs=2, start_method="fork")
"""


def test_two_ranks_resume_with_the_same_rates(server, job, tmp_path):
    run_program(RANKS, job, server.url, str(tmp_path), timeout=300)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first["rates"] == second["rates"] == pytest.approx([0.05 * (1 - step / 8) for step in range(8)])
    assert first["weights"] == second["weights"]
    record = server.record(job)
    windows = [sum(first["losses"][at : at + 2]) / 2 for at in range(0, 16, 2)]
    assert list(record["loss"].values()) == pytest.approx(windows)
    assert [(one.attempt, one.resume_step) for one in server.attempts(job)] == [(1, 0), (2, 4)]
