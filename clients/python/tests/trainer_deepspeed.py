"""DeepSpeed's engine on the CPU, in one process. It goes on accumulating over the ends of epochs."""

from __future__ import annotations

import os
import tempfile
from unittest.mock import patch

import torch
import torch.distributed as dist

os.environ["DS_ACCELERATOR"] = "cpu"
os.environ["DS_BUILD_OPS"] = "0"

import deepspeed

import lrs.deepspeed
from training import PATIENT, FailureError, Model, grouped


class Trainer:
    knows_skips = resumes = True
    grows = False

    def updates(self, run):
        windows = grouped(run.losses * run.epochs, run.accumulation)
        return [sum(window) / len(window) for window in windows if len(window) == run.accumulation]

    def train(self, server, job, run, **configuration):
        self.engine = engine = engine_of(run, **configuration)
        self.model, self.optimizer = engine.module, engine.basic_optimizer
        options = PATIENT | {"total_steps": 100} | run.options
        done = 0
        with lrs.deepspeed.LRScheduler(engine, job, server=server.url, **options) as scheduler:
            self.scheduler = scheduler
            if run.checkpoint is not None:
                engine.load_checkpoint(run.checkpoint)
            for epoch in range(run.epochs):
                for number in run.losses:
                    if done == run.fail_at:
                        raise FailureError
                    loss = engine(torch.tensor([number]))["loss"]
                    engine.backward(loss)
                    engine.step()
                    done += engine.was_step_applied()
                    if done == run.stop_after:
                        return saved(engine)
                if run.evaluate:
                    scheduler.log(val_loss=run.evaluate[epoch])
            return saved(engine)


# Ranks on one host would use a kernel that is compiled here.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def saved(engine):
    directory = tempfile.mkdtemp(prefix="lrs-deepspeed-")
    engine.save_checkpoint(directory)
    return directory


def engine_of(run, **configuration):
    if not dist.is_initialized():
        # Composer ends the process group of its process, which DeepSpeed remembers.
        deepspeed.comm.comm.cdb = None
        for name in vars(deepspeed.utils.groups):
            if name.startswith("_") and name.endswith(("_GROUP", "_GROUPS")):
                setattr(deepspeed.utils.groups, name, None)
        store = dist.FileStore(f"{tempfile.mkdtemp()}/store", 1)
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    model = Model()
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": run.accumulation,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    } | configuration
    optimizer = torch.optim.SGD([model.weight], lr=0.1)
    with patch.dict(os.environ, LOCAL_RANK="0"):
        engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
    return engine
