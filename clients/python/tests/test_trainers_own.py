"""What each trainer has of its own: its losses, its schedulers, its retries, and a second training with one callback."""

import logging

import keras
import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

import lrs
from lrs.keras import LrsCallback as KerasCallback
from lrs.lightning import LrsCallback as LightningCallback
from lrs.transformers import LrsCallback
from trainers import Given, Lightning, Module, Transformers
from training import PATIENT, Run


def tokens(count=12):
    return torch.randint(0, 32, (count, 8), generator=torch.Generator().manual_seed(0))


def gpt():
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=32, n_positions=8, n_embd=16, n_layer=1, n_head=2))


class Seen(transformers.TrainerCallback):
    """What the Trainer logs, and the rates that it used."""

    def __init__(self):
        self.losses, self.rates, self.norms = [], [], []

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.rates.append(kwargs["optimizer"].param_groups[0]["lr"])

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.losses.append(logs["loss"])
            self.norms.append(logs["grad_norm"])


def trainer(tmp_path, callback, trainer_class=Trainer, **arguments):
    seen = Seen()
    options = {
        "output_dir": str(tmp_path / "out"),
        "per_device_train_batch_size": 2,
        "num_train_epochs": 1,
        "learning_rate": 0.01,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "save_strategy": "no",
        "disable_tqdm": True,
    } | arguments
    data = [{"input_ids": one, "labels": one} for one in tokens()]
    made = trainer_class(model=gpt(), args=TrainingArguments(**options), train_dataset=data, callbacks=[callback, seen])
    return made, seen


class OwnLoss(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(input_ids=inputs["input_ids"])
        loss = outputs.logits.square().mean()
        return (loss, outputs) if return_outputs else loss


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("kind", ["plain", "smoothed", "own"])
def test_the_loss_and_the_norm_are_those_that_the_trainer_logs(server, job, tmp_path, kind, accumulation):
    made, seen = trainer(
        tmp_path,
        LrsCallback(job, server=server.url, **PATIENT),
        OwnLoss if kind == "own" else Trainer,
        label_smoothing_factor=0.1 if kind == "smoothed" else 0.0,
        gradient_accumulation_steps=accumulation,
        max_grad_norm=0.5,
    )
    if kind == "own":
        made.model_accepts_loss_kwargs = False  # as the Trainer asks of those who write a mean
    made.train()
    record = server.record(job)
    assert list(record["loss"].values()) == pytest.approx(seen.losses, abs=2e-4)
    assert list(record["grad_norm"].values()) == pytest.approx(seen.norms, rel=1e-3)


class OutOfMemory(Trainer):
    """Runs out of memory where a batch is large: before the first update, and later."""

    def training_step(self, model, inputs, *args, **kwargs):
        size = len(inputs["input_ids"])
        if size > 5 or (size == 5 and self.state.global_step == 1):
            raise RuntimeError("CUDA out of memory.")
        super().training_step(model, inputs, *args, **kwargs)
        return torch.tensor(1.0)


def test_a_trainer_that_finds_its_batch_size_trains_one_curve_of_the_right_length(server, job, tmp_path):
    callback = LrsCallback(job, server=server.url, **PATIENT)
    made, _ = trainer(
        tmp_path, callback, OutOfMemory, per_device_train_batch_size=8, auto_find_batch_size=True, num_train_epochs=2
    )
    made.train()
    steps = made.state.global_step
    assert steps == 6, "it began again with smaller batches"
    record = server.record(job)
    assert list(record["loss"].values()) == [1.0] * steps
    assert server.job(job).spec.total_steps == steps
    assert list(record["learning_rate"].values()) == pytest.approx([0.01 * (1 - k / steps) for k in range(steps)])
    assert not {"training_step", "_run_epoch"} & vars(made).keys()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"lr_scheduler_type": "cosine"},
        {"lr_scheduler_type": "cosine", "warmup_steps": 3},
        {"warmup_steps": 0.25},
        {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 2},
        {"lr_scheduler_type": "inverse_sqrt", "warmup_steps": 2},
        {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": 1e-3, "power": 2.0}},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
        {"lr_scheduler_type": "warmup_stable_decay", "warmup_steps": 2, "lr_scheduler_kwargs": {"num_decay_steps": 2}},
    ],
    ids=str,
)
def test_the_trainer_s_schedule_is_the_job_s(server, job, tmp_path, arguments):
    made, alone = trainer(tmp_path, Seen(), **arguments)
    made.train()
    made, seen = trainer(tmp_path, LrsCallback(job, server=server.url, **PATIENT), **arguments)
    made.train()
    assert seen.rates == pytest.approx(alone.rates, rel=1e-9)
    assert list(server.record(job)["learning_rate"].values()) == pytest.approx(alone.rates, rel=1e-9)


def test_a_schedule_that_is_not_followed_is_said(server, job, tmp_path, caplog):
    callback = LrsCallback(job, server=server.url, schedule={"linear": {}}, **PATIENT)
    made, _ = trainer(tmp_path, callback, lr_scheduler_type="cosine", warmup_steps=2)
    made.train()
    assert "lr_scheduler_type='cosine' with 2 warmup steps" in caplog.text


def test_the_default_schedule_of_the_trainer_is_no_reason_to_refuse_a_job(server, job, tmp_path, caplog):
    lrs.Scheduler(job, server=server.url, groups=0.01, total_steps=6, schedule={"cosine": {}}, tier=1).close()
    made, _ = trainer(tmp_path, LrsCallback(job, server=server.url, strict=True, **PATIENT))
    made.train()
    assert "is registered with" not in caplog.text
    assert len(server.record(job)["loss"]) == 6


@pytest.mark.parametrize(
    "make",
    [
        lambda o: torch.optim.lr_scheduler.StepLR(o, 2, gamma=0.5),
        lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [1, 3], gamma=0.3),
        lambda o: {"scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(o, 12), "interval": "step"},
        lambda o: {"scheduler": torch.optim.lr_scheduler.StepLR(o, 1, gamma=0.5), "interval": "step", "frequency": 3},
        lambda o: {"scheduler": torch.optim.lr_scheduler.OneCycleLR(o, 0.2, total_steps=13), "interval": "step"},
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [torch.optim.lr_scheduler.LinearLR(o, 0.5, total_iters=2), torch.optim.lr_scheduler.StepLR(o, 1, 0.5)],
            [2],
        ),
    ],
)
def test_the_scheduler_of_a_lightning_module_is_the_job_s(server, job, tmp_path, make):
    run = Run([1.0] * 3, epochs=4)
    alone = Module(run, make)
    batches = torch.utils.data.DataLoader(torch.ones(3, 1))
    pl.Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    ).fit(alone, batches)
    followed = Module(run, make)
    Lightning().train(server, job, run, directory=tmp_path, module=followed)
    assert followed.used == pytest.approx(alone.used, rel=1e-9)


def test_a_scheduler_without_words_is_refused(server, job, tmp_path):
    module = Module(Run([1.0]), lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda k: 0.5**k))
    with pytest.raises(lrs.UsageError, match="LambdaLR"):
        Lightning().train(server, job, Run([1.0] * 3), directory=tmp_path, module=module)


def test_a_second_fit_of_lightning_goes_on_with_the_curve(server, job, tmp_path):
    module = Module(Run([1.0] * 4))
    callback = LightningCallback(job, server=server.url, schedule={"linear": {}}, **PATIENT)
    batches = torch.utils.data.DataLoader(torch.ones(4, 1))
    made = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        callbacks=[callback],
    )
    made.fit(module, batches)
    made.fit_loop.max_epochs = 4
    made.fit(module, batches)
    assert made.global_step == 16
    rates = server.record(job)["learning_rate"]
    assert list(rates) == list(range(16))
    assert [rates[step] for step in range(8)] == pytest.approx([0.1 * (1 - k / 8) for k in range(8)])
    assert [rates[step] for step in range(8, 16)] == pytest.approx([0.1 * (1 - k / 16) for k in range(8, 16)])
    assert [one.resume_step for one in server.attempts(job)] == [0, 8]


def fitted():
    inputs = keras.layers.Input((1,))
    model = keras.Model(inputs, Given()(inputs))
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=lambda y_true, y_pred: keras.ops.mean(y_pred, axis=-1))
    return model


@pytest.mark.parametrize("second", [{"epochs": 1}, {"epochs": 2, "initial_epoch": 1}])
def test_a_second_fit_of_keras_goes_on_with_the_curve(server, job, second):
    x = np.ones((4, 1), "float32")
    callback = KerasCallback(job, server=server.url, schedule={"linear": {}}, **PATIENT)
    model, fit = fitted(), {"batch_size": 1, "verbose": 0, "callbacks": [callback]}
    model.fit(x, x, epochs=1, **fit)
    model.fit(x, x, **second, **fit)
    rates = server.record(job)["learning_rate"]
    assert [rates[step] for step in range(4, 8)] == pytest.approx([0.1 * (1 - k / 8) for k in range(4, 8)])
    assert [one.resume_step for one in server.attempts(job)] == [0, 4]


def test_a_last_batch_of_another_size_has_its_own_loss(server, job):
    x = np.array([1, 3, 5, 7, 11], "float32")[:, None]
    fitted().fit(
        x, x, batch_size=2, shuffle=False, verbose=0, callbacks=[KerasCallback(job, server=server.url, **PATIENT)]
    )
    assert list(server.record(job)["loss"].values()) == pytest.approx([2.0, 6.0, 11.0])


def test_the_metrics_of_an_evaluation_after_training_are_no_error(server, job, tmp_path, caplog):
    driver = Transformers()
    driver.train(server, job, Run([1.0] * 3), directory=tmp_path)
    with caplog.at_level(logging.WARNING, "lrs"):
        driver.trainer.callback_handler.on_evaluate(
            driver.trainer.args, driver.trainer.state, driver.trainer.control, {"eval_loss": 1.0}
        )
    assert not caplog.records
