"""fastai's Learner, with its own optimizer. `GradientAccumulation` goes on over the ends of epochs."""

from __future__ import annotations

import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.training import GradientAccumulation
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.optimizer import SGD

import lrs.fastai
from training import PATIENT, FailureError, Model, grouped, scaler


class Trainer:
    knows_skips = resumes = True
    grows = False

    def updates(self, run):
        windows = grouped(run.losses * run.epochs, run.accumulation)
        return [sum(window) / len(window) for window in windows if len(window) == run.accumulation]

    def train(self, server, job, run, *, opt_func=SGD, fit=lambda learn, run: learn.fit(run.epochs, 0.1)):
        self.model = Model()
        self.callback = lrs.fastai.LrsCallback(job, server=server.url, state=run.checkpoint, **(PATIENT | run.options))
        callbacks = [self.callback, Watch(run)]
        if run.accumulation > 1:
            callbacks.append(GradientAccumulation(run.accumulation))
        if run.with_scaler:
            callbacks.append(OnTheHost())
        self.learn = learner(self.model, run, callbacks, opt_func)
        with self.learn.no_bar(), self.learn.no_logging():
            fit(self.learn, run)
        self.scheduler = self.callback.scheduler
        return self.callback.state_dict()


def learner(model, run, callbacks, opt_func=SGD):
    """A Learner whose batches have the losses of a run."""
    rows = [(torch.tensor([loss]), torch.tensor([0.0])) for loss in run.losses]
    batches = DataLoaders(DataLoader(rows, bs=1), DataLoader(rows[:1], bs=1))
    return Learner(
        batches,
        Given(model),
        loss_func=lambda loss, _: loss,
        opt_func=opt_func,
        splitter=lambda given: [[given.model.weight]],
        cbs=callbacks,
    )


class Given(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)["loss"]


class Watch(Callback):
    """Does to a Learner what a run says."""

    order = 90

    def __init__(self, run):
        self.plan, self.done, self.told, self.used = run, 0, iter(run.evaluate), []

    def before_batch(self):
        if self.training and self.done == self.plan.fail_at:
            raise FailureError("on purpose")

    def before_step(self):
        self.used.append(self.opt.hypers[-1]["lr"])

    def after_step(self):
        self.done += 1
        if self.done == self.plan.stop_after:
            raise CancelFitException

    def after_pred(self):
        if not self.training and self.plan.evaluate:
            self.learn.pred = torch.tensor(next(self.told))


class OnTheHost(MixedPrecision):
    """fastai's mixed precision with a scaler for the CPU."""

    def before_fit(self):
        super().before_fit()
        self.autocast, self.learn.scaler = torch.autocast("cpu", enabled=False), scaler()
