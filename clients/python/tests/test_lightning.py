"""Lightning's own Trainer."""

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

import lrs
from lrs.lightning import LrsCallback
from lrs.v1.controller_pb2 import MODE_MAX

LINEAR = {"schedule": {"linear": {}}, "deadline": 20.0}


class Regression(pl.LightningModule):
    def __init__(self, optimizers=1):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 1)
        self.optimizers_made = optimizers
        self.used = []
        self.losses = []
        if optimizers > 1:
            self.automatic_optimization = False

    def training_step(self, batch, index):
        loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.losses.append(float(loss.detach()))
        return loss

    def validation_step(self, batch, index):
        self.log("val_loss", torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1]))

    def on_before_optimizer_step(self, optimizer):
        self.used.append(optimizer.param_groups[0]["lr"])

    def configure_optimizers(self):
        return [torch.optim.SGD(self.layer.parameters(), lr=0.1) for _ in range(self.optimizers_made)]


@pytest.fixture
def batches():
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8)


def trainer(tmp_path, callback, **options):
    return pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[callback],
        **({"enable_checkpointing": False} | options),
    )


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_trainer_uses_the_rates_of_the_service(server, job, tmp_path, batches, accumulation):
    module = Regression()
    callback = LrsCallback(job, server=server.url, **LINEAR)
    trainer(tmp_path, callback, accumulate_grad_batches=accumulation).fit(module, batches, batches)
    steps = 12 // accumulation
    assert module.used == pytest.approx([0.1 * (1 - step / steps) for step in range(steps)])
    record = server.record(job)
    assert list(record["learning_rate"].values()) == module.used
    means = [sum(module.losses[at : at + accumulation]) / accumulation for at in range(0, 12, accumulation)]
    assert list(record["loss"].values()) == pytest.approx(means, rel=1e-6)
    assert len(record["grad_norm"]) == steps
    assert sorted(record["val_loss"]) == [steps // 3, 2 * steps // 3, steps - 1]


def test_a_checkpoint_of_the_trainer_carries_what_it_takes_to_resume(server, job, tmp_path, batches):
    first = Regression()
    callback = LrsCallback(job, server=server.url, total_steps=24, **LINEAR)
    run = trainer(tmp_path, callback, enable_checkpointing=True)
    run.fit(first, batches)
    run.save_checkpoint(tmp_path / "mid.ckpt")
    second = Regression()
    again = trainer(tmp_path, LrsCallback(job, server=server.url), max_steps=-1, enable_checkpointing=False)
    again.fit_loop.max_epochs = 6
    again.fit(second, batches, ckpt_path=tmp_path / "mid.ckpt", weights_only=True)
    assert first.used + second.used == pytest.approx([0.1 * (1 - step / 24) for step in range(24)])
    assert [(one.attempt, one.resume_step) for one in server.attempts(job)] == [(1, 0), (2, 12)]


def test_several_optimizers_are_refused_with_the_way_out(server, job, tmp_path, batches):
    with pytest.raises(lrs.UsageError, match="2 optimizers"):
        trainer(tmp_path, LrsCallback(job, server=server.url)).fit(Regression(optimizers=2), batches)


class Tuned(Regression):
    """A module whose backbone is frozen at first."""

    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Linear(4, 4)
        self.groups = []

    def training_step(self, batch, index):
        return torch.nn.functional.mse_loss(self.layer(self.backbone(batch[0])), batch[1])

    def on_before_optimizer_step(self, optimizer):
        self.groups.append(len(optimizer.param_groups))

    def configure_optimizers(self):
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.SGD(trained, lr=0.1)


def test_a_backbone_that_is_unfrozen_is_trained(server, job, tmp_path, batches):
    module = Tuned()
    callback = LrsCallback(job, server=server.url, close_timeout=20.0, **LINEAR)
    run = pl.Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        callbacks=[pl.callbacks.BackboneFinetuning(unfreeze_backbone_at_epoch=1), callback],
    )
    run.fit(module, batches)
    assert module.groups == [1] * 4 + [2] * 12
    assert list(server.record(job)["learning_rate"].values()) == pytest.approx([0.1 * (1 - k / 16) for k in range(16)])
    assert len(callback.scheduler.get_last_lr()) == 2


def test_what_the_trainer_s_callbacks_watch_is_the_job_s_objective_and_is_reported(server, job, tmp_path, batches):
    class Scored(Regression):
        def validation_step(self, batch, index):
            super().validation_step(batch, index)
            self.log("val/r2", 0.5)

    checkpoints = ModelCheckpoint(tmp_path, monitor="val/r2", mode="max")
    watched = trainer(tmp_path, LrsCallback(job, server=server.url, **LINEAR), enable_checkpointing=True)
    watched.callbacks.append(checkpoints)
    watched.fit(Scored(), batches, batches)
    objective = server.job(job).spec.objective
    assert (objective.metric, objective.mode) == ("val/r2", MODE_MAX)
    record = server.record(job)
    assert record["val/r2"] == dict.fromkeys(record["val_loss"], 0.5)
