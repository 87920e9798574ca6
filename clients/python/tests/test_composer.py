"""The schedulers of Composer's Trainer, and a second `fit` with one callback."""

import pytest
import torch
from composer.optim import (
    CosineAnnealingWithWarmupScheduler,
    LinearScheduler,
    MultiStepScheduler,
    PolynomialScheduler,
)
from composer.trainer import Trainer as ComposerTrainer

import lrs
from lrs.composer import LrsCallback
from trainer_composer import Given, Trainer, Watch
from training import PATIENT, Run

SCHEDULERS = {
    "linear": lambda _: LinearScheduler(alpha_i=1.0, alpha_f=0.1),
    "multistep": lambda _: MultiStepScheduler(["4ba", "2ep"], gamma=0.5),
    "polynomial": lambda _: PolynomialScheduler(power=2.0, t_max="0.5dur"),
    "cosine": lambda _: CosineAnnealingWithWarmupScheduler(t_warmup="3ba"),
    "torch": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5),
}


def made(callbacks, schedulers, *, epochs=3, batches=4):
    torch.manual_seed(0)
    model = Given(Run([]))
    optimizer = torch.optim.SGD([model.inner.weight], lr=0.1)
    return ComposerTrainer(
        model=model,
        train_dataloader=torch.utils.data.DataLoader(torch.ones(batches, 1), batch_size=1),
        max_duration=f"{epochs}ep",
        optimizers=optimizer,
        schedulers=schedulers(optimizer) if schedulers else None,
        callbacks=callbacks,
        device="cpu",
        progress_bar=False,
    )


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_the_scheduler_of_the_trainer_is_the_job_s(server, job, kind):
    alone, followed = Watch(Run([])), Watch(Run([]))
    made([alone], SCHEDULERS[kind]).fit()
    made([LrsCallback(job, server=server.url, **PATIENT), followed], SCHEDULERS[kind]).fit()
    assert followed.used == pytest.approx(alone.used, rel=1e-9)
    assert list(server.record(job)["learning_rate"].values()) == pytest.approx(alone.used, rel=1e-9)
    assert len(set(alone.used)) > 2


def test_a_scheduler_without_words_is_refused(server, job):
    trainer = made([LrsCallback(job, server=server.url, **PATIENT)], lambda _: lambda state: 0.5)
    with pytest.raises(lrs.UsageError, match="LambdaLR"):
        trainer.fit()


def test_a_second_fit_goes_on_with_the_curve(server, job):
    callback = LrsCallback(job, server=server.url, schedule={"linear": {}}, **PATIENT)
    trainer = made([callback], None, epochs=1)
    trainer.fit()
    trainer.fit(duration="1ep")
    rates = server.record(job)["learning_rate"]
    assert [rates[step] for step in range(4, 8)] == pytest.approx([0.1 * (1 - k / 8) for k in range(4, 8)])
    assert [one.resume_step for one in server.attempts(job)] == [0, 4]


def test_the_loss_of_microbatches_of_other_sizes_is_the_trainer_s(server, job):
    trainer = Trainer()
    trainer.train(server, job, Run([1.0, 3.0, 5.0, 7.0, 11.0], accumulation=3))
    assert list(server.record(job)["loss"].values()) == pytest.approx([3.0, 9.0])
    assert list(server.record(job)["grad_norm"].values()) == pytest.approx([3.0, 9.0])
