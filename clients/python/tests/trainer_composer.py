"""MosaicML Composer's Trainer. A step is a batch, whose microbatches are accumulated. It scales losses on GPUs only."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from unittest.mock import patch

import torch
from composer import Callback, Time
from composer.models import ComposerModel
from composer.trainer import Trainer as ComposerTrainer
from torchmetrics import MeanMetric

import lrs.composer
from training import PATIENT, FailureError, Model, windows


class Trainer:
    knows_skips = grows = resumes = counts_epochs_before = True

    def updates(self, run):
        return windows(run.losses, run.accumulation) * run.epochs

    def train(self, *args, **kwargs):
        # Other tests of this process may have made a process group, as launchers do, who say these too.
        alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "NODE_RANK": "0"}
        with patch.dict(os.environ, alone if torch.distributed.is_initialized() else {}):
            return self._train(*args, **kwargs)

    def _train(self, server, job, run, *, schedulers=None, **more):
        self.callback = lrs.composer.LrsCallback(job, server=server.url, **(PATIENT | run.options))
        self.watch = Watch(run)
        self.model = Given(run)
        self.optimizer = torch.optim.SGD([self.model.inner.weight], lr=0.1)
        rows = [torch.tensor([loss]) for loss in run.losses]
        self.trainer = ComposerTrainer(
            model=self.model,
            train_dataloader=torch.utils.data.DataLoader(rows, batch_size=run.accumulation),
            eval_dataloader=torch.utils.data.DataLoader(rows[:1], batch_size=1) if run.evaluate else None,
            device_train_microbatch_size=1,
            max_duration=f"{run.epochs}ep",
            optimizers=self.optimizer,
            schedulers=schedulers,
            callbacks=[self.callback, self.watch],
            device="cpu",
            progress_bar=False,
            load_path=run.checkpoint,
            run_name=job.replace("/", "-"),
            seed=1,
            **more,
        )
        self.trainer.fit()
        self.scheduler = self.callback.scheduler
        place = Path(tempfile.mkdtemp(prefix="lrs-composer-")) / "checkpoint.pt"
        return str(self.trainer.save_checkpoint(str(place)) or place)


class Given(ComposerModel):
    """A model whose loss is given."""

    def __init__(self, run):
        super().__init__()
        self.inner, self.told = Model(), iter(run.evaluate)

    def forward(self, batch):
        return self.inner(batch)

    def loss(self, outputs, batch, *args, **kwargs):
        return outputs["loss"]

    def eval_forward(self, batch, outputs=None):
        return torch.tensor(next(self.told))

    def get_metrics(self, is_train=False):
        return {} if is_train else {"loss": MeanMetric()}

    def update_metric(self, batch, outputs, metric):
        metric.update(outputs)


class Watch(Callback):
    """Does to a Trainer what a run says."""

    def __init__(self, run):
        self.run, self.used = run, []

    def before_train_batch(self, state, logger):
        done = int(state.timestamp.batch)
        if done == self.run.fail_at:
            raise FailureError
        if done == self.run.grow_at:
            frozen = state.model.inner.frozen
            state.optimizers[0].add_param_group({"params": [frozen], "lr": 0.02, "name": "unfrozen"})

    def after_train_batch(self, state, logger):
        self.used.append(state.optimizers[0].param_groups[0]["lr"])

    def batch_end(self, state, logger):
        if int(state.timestamp.batch) == self.run.stop_after:
            state.max_duration = Time(self.run.stop_after, "ba")
