"""A double of torchtitan's Trainer, which needs a GPU's compiler (triton) to be imported.

It has the Trainer's attributes, and its `train` and `train_step` do what torchtitan 0.3.0's do, in that order. The
containers of optimizers and schedulers, their configurations and the clipping are torchtitan's own.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
from torchtitan.components.optimizer import LRSchedulersContainer, OptimizersContainer
from torchtitan.components.optimizer.optimizer import ParamGroupConfig
from torchtitan.distributed import utils as dist_utils

import lrs.torchtitan
from training import PATIENT, FailureError, Model, grouped, windows


class Titan:
    """The Trainer."""

    def __init__(self, run, windows, steps, configuration):
        self.model = Model()
        self.model_parts = [self.model]
        self.config = SimpleNamespace(
            training=SimpleNamespace(steps=steps, max_norm=1e9),
            lr_scheduler=LRSchedulersContainer.Config(**configuration),
        )
        groups = [
            ParamGroupConfig(pattern=name, optimizer_name="AdamW", optimizer_kwargs={"lr": rate})
            for name, rate in (("weight", 0.1), ("frozen", 0.02))
        ]
        self.optimizers = OptimizersContainer(
            OptimizersContainer.Config(param_groups=groups, implementation="for-loop"), model_parts=self.model_parts
        )
        self.lr_schedulers = self.config.lr_scheduler.build(optimizers=self.optimizers, training_steps=steps)
        self.parallel_dims = SimpleNamespace(
            pp_enabled=False, dp_cp_enabled=False, ep_enabled=False, get_optional_mesh=lambda _: None
        )
        self.metrics_processor = SimpleNamespace(log_validation=lambda loss, step: None)
        self.checkpointer = SimpleNamespace(states={"lr_scheduler": self.lr_schedulers, "train_state": self})
        self.step, self.used, self.run, self.windows = 0, [], run, windows

    def forward_backward_step(self, *, input_dict, labels, global_valid_tokens):
        loss = self.model(input_dict["input"])["loss"] / global_valid_tokens
        loss.backward()
        return loss

    def train_step(self, window):
        self.optimizers.zero_grad(set_to_none=True)
        self.lr_schedulers.get_metrics()
        for number in window:
            self.forward_backward_step(
                input_dict={"input": torch.tensor([number])}, labels=None, global_valid_tokens=len(window)
            )
        parameters = [p for m in self.model_parts for p in m.parameters()]
        dist_utils.clip_grad_norm_(parameters, self.config.training.max_norm, foreach=True, ep_enabled=False)
        self.used.append(self.optimizers.optimizers[0].param_groups[0]["lr"])
        self.optimizers.step()
        self.lr_schedulers.step()

    def train(self):
        first, told = self.step, iter(self.run.evaluate)
        per_epoch = len(self.windows) // self.run.epochs
        while self.step < self.config.training.steps:
            self.step += 1
            done = self.step - first
            if done - 1 == self.run.fail_at:
                raise FailureError
            if done > len(self.windows):
                self.step -= 1
                break  # "Ran out of data; last step was canceled."
            self.train_step(self.windows[done - 1])
            if self.run.evaluate and done % per_epoch == 0:
                self.metrics_processor.log_validation(loss=next(told), step=self.step)
            if done == self.run.stop_after:
                break

    def save(self):
        """As torchtitan's checkpoints: the plain state of each part."""
        place = Path(tempfile.mkdtemp(prefix="lrs-torchtitan-")) / "checkpoint.json"
        states = self.checkpointer.states
        place.write_text(json.dumps({"lr_scheduler": states["lr_scheduler"].state_dict(), "step": self.step}))
        return place

    def load(self, place):
        saved = json.loads(place.read_text())
        self.checkpointer.states["lr_scheduler"].load_state_dict(saved["lr_scheduler"])
        self.step = saved["step"]


class Trainer:
    knows_skips = resumes = True
    grows = False

    def updates(self, run):
        return windows(run.losses, run.accumulation) * run.epochs

    def train(self, server, job, run, *, steps=100, configuration=None):
        plan = grouped(run.losses, run.accumulation) * run.epochs
        self.trainer = titan = Titan(run, plan, steps, configuration or {"warmup_steps": 0, "min_lr_factor": 1.0})
        self.model, self.optimizer = titan.model, titan.optimizers.optimizers[0]
        self.scheduler = lrs.torchtitan.LRSchedulers(titan, job, server=server.url, **(PATIENT | run.options))
        if run.checkpoint is not None:
            titan.load(run.checkpoint)
        titan.train()
        return titan.save()
