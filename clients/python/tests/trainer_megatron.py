"""A loop like Megatron-LM's. Megatron's optimizers need a GPU: this one is a double of their interface, on the CPU.

As Megatron's, `step()` returns whether the update was applied, the norm before clipping and a count of zeros, it clips at
its config's `clip_grad`, and it leaves out an update whose gradient is not finite. The loop calls the scheduler only after an
applied update, with the samples of all micro-batches, and knows the loss afterwards.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch

import lrs.megatron
from lrs.contract import Skipped
from training import PATIENT, FailureError, Model, grouped


class Optimizer:
    def __init__(self, groups, lr=0.1):
        self.inner = torch.optim.SGD(groups, lr=lr)
        self.config = SimpleNamespace(clip_grad=0.0)
        self.used = []

    @property
    def param_groups(self):
        return self.inner.param_groups

    def zero_grad(self):
        self.inner.zero_grad()

    def step(self):
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        self.used.append(self.param_groups[0]["lr"])
        if not torch.isfinite(norm):
            return False, None, None
        if self.config.clip_grad > 0:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.config.clip_grad, norm)
        self.inner.step()
        return True, float(norm), None


class Trainer:
    knows_skips = resumes = True
    grows = False
    skipped_as = Skipped.BY_TRAINER

    def updates(self, run):
        return [sum(window) / len(window) for window in self.windows(run)]

    def windows(self, run):
        return [w for w in grouped(run.losses * run.epochs, run.accumulation) if len(w) == run.accumulation]

    def train(self, server, job, run):
        self.model = Model()
        self.optimizer = None
        self.theirs = optimizer = Optimizer([self.model.weight])
        options = PATIENT | {"total_steps": 100} | run.options
        per_epoch, done = len(self.windows(run)) // run.epochs, 0
        with lrs.megatron.OptimizerParamScheduler(optimizer, job, server=server.url, **options) as scheduler:
            self.scheduler = scheduler
            if run.checkpoint is not None:
                scheduler.load_state_dict(run.checkpoint)
            for window in self.windows(run):
                if done == run.fail_at:
                    raise FailureError
                loss_dict = train_step(self.model, optimizer, scheduler, window)
                scheduler.report(loss_dict)
                done += 1
                if done == run.stop_after:
                    return scheduler.state_dict()
                if run.evaluate and done % per_epoch == 0:
                    scheduler.log(val_loss=run.evaluate[done // per_epoch - 1])
            return scheduler.state_dict()


def train_step(model, optimizer, opt_param_scheduler, window):
    """Megatron's `train_step`: micro-batches, the update, the scheduler, and then the mean loss."""
    optimizer.zero_grad()
    losses = []
    for number in window:
        loss = model(torch.tensor([number]))["loss"]
        (loss / len(window)).backward()
        losses.append(loss.detach())
    applied, *_ = optimizer.step()
    if applied:
        opt_param_scheduler.step(increment=len(window))
    return {"lm loss": torch.stack(losses).mean()}
