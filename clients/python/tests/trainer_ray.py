"""Ray Train. A loop of one worker runs in this process (`num_workers=0`); tests/test_ray.py has worker groups."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray.train
import torch
from ray.train.torch import TorchTrainer

import lrs.ray
from training import PATIENT, FailureError, Model, grouped, windows


class Trainer:
    knows_skips = grows = resumes = True

    def updates(self, run):
        return windows(run.losses, run.accumulation) * run.epochs

    def train(self, server, job, run):
        TorchTrainer(
            lambda: self.loop(server, job, run), scaling_config=ray.train.ScalingConfig(num_workers=0, use_gpu=False)
        ).fit()
        return self.saved

    def loop(self, server, job, run):
        self.model = model = Model()
        self.optimizer = optimizer = torch.optim.SGD([model.weight], lr=0.1)
        options = PATIENT | {"total_steps": 100, "tier": 1} | run.options
        done = 0
        with lrs.ray.LRScheduler(optimizer, job, server=server.url, **options) as scheduler:
            self.scheduler = scheduler
            if run.checkpoint is not None:  # Ray gives a loop in this process no checkpoint
                scheduler.load_state_dict(run.checkpoint)
            for epoch in range(run.epochs):
                for window in grouped(run.losses, run.accumulation):
                    if done == run.fail_at:
                        raise FailureError
                    optimizer.zero_grad()
                    total = torch.zeros(())
                    for number in window:
                        loss = model(torch.tensor([number]))["loss"] / len(window)
                        loss.backward()
                        total += loss.detach()
                    if scheduler.guard(total):
                        optimizer.step()
                    scheduler.step(total)
                    done += 1
                    if done == run.stop_after:
                        break
                    if done == run.grow_at:
                        optimizer.add_param_group({"params": [model.frozen], "lr": 0.02, "name": "unfrozen"})
                directory = tempfile.mkdtemp(prefix="lrs-ray-")
                told = {"val_loss": run.evaluate[epoch]} if run.evaluate else {"loss": float(total)}
                scheduler.report(told, checkpoint=ray.train.Checkpoint.from_directory(directory))
                self.saved = json.loads((Path(directory) / "lrs.json").read_text())
                if done == run.stop_after:
                    return
