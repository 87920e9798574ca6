"""Callbacks report what a job's controllers and objective name, as far as their trainer logs it, and say what it does not."""

import logging

import keras
import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import transformers

import lrs
import lrs.keras
import lrs.lightning
import lrs.transformers
from lrs.named import is_evaluation
from lrs.steering import reads
from lrs.v1.job_pb2 import JobSpec
from training import PATIENT, Model


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, "lrs")
    return lambda: [record.getMessage() for record in caplog.records if "names the metric" in record.getMessage()]


def register(server, job, spec, rate=0.1):
    """Register a job elsewhere, as on the command line."""
    lrs.Scheduler(job, server=server.url, groups=rate, spec=spec, complete=False).close()


def threshold(metric):
    return {"threshold": {"metric": metric, "above": 1e9}}


def controllers(*metrics):
    return {"controllers": [threshold(metric) for metric in metrics]}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (JobSpec(), set()),
        (JobSpec(controllers=[{"greedy": {}}, {"threshold": {"metric": "grad_norm"}}]), set()),
        (JobSpec(controllers=[{"auto": {}}]), {"val_loss"}),
        (JobSpec(controllers=[{"auto": {}}], objective={"metric": "acc"}), {"acc"}),
        (JobSpec(controllers=[{"auto": {"evaluation_metric": "f1"}}], objective={"metric": "acc"}), {"f1", "acc"}),
        (JobSpec(controllers=[{"library": "torch", "scheduler": "ReduceLROnPlateau", "metric": "m"}]), {"m"}),
        (JobSpec(controllers=[{"library": "keras", "scheduler": "ReduceLROnPlateau"}]), {"val_loss"}),
        (
            JobSpec(
                controllers=[{"library": "keras", "scheduler": "ReduceLROnPlateau", "params": {"monitor": "accuracy"}}]
            ),
            {"accuracy"},
        ),
    ],
)
def test_a_spec_names_metrics_in_all_its_parts(spec, expected):
    assert reads(spec) - {"loss", "grad_norm"} == expected


class Logs(pl.LightningModule):
    """Logs in each of the ways of Lightning."""

    def __init__(self):
        super().__init__()
        self.model = Model()

    def training_step(self, batch, index):
        loss = self.model(batch)["loss"]
        self.log("train_loss", loss.detach() * 2)
        self.log("both", float(index), on_step=True, on_epoch=True)
        self.log_dict({"train acc": float(self.current_epoch)}, on_step=False, on_epoch=True)
        if index == 1:
            self.log("rare", 7.0)
        return loss

    def on_train_epoch_end(self):
        self.log("late", float(self.current_epoch))

    def validation_step(self, batch, index):
        self.log("val/acc", 0.25 * (1 + self.current_epoch))

    def configure_optimizers(self):
        return torch.optim.SGD([self.model.weight], lr=0.1)


def lightning(server, job, tmp_path, *, validates=True, epochs=2, **options):
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        callbacks=[lrs.lightning.LrsCallback(job, server=server.url, **PATIENT, **options)],
    )
    batches = torch.utils.data.DataLoader(torch.tensor([1.0, 2.0, 3.0])[:, None], batch_size=1)
    module = Logs()
    trainer.fit(module, batches, batches if validates else None)
    assert "log" not in vars(module), "nothing stays hooked"
    return server.telemetry(job)


@pytest.mark.parametrize("elsewhere", [True, False])
def test_lightning_reports_what_the_module_logs_and_the_spec_names(server, job, tmp_path, warnings, elsewhere):
    names = "val/acc", "train_loss", "both_epoch", "train_acc", "rare", "late"
    spec = controllers(*names) | {"total_steps": 6, "objective": {"metric": "val/acc", "mode": "max"}}
    if elsewhere:
        register(server, job, spec)
        spec = {}
    record = lightning(server, job, tmp_path, **({"spec": spec} if spec else {}))
    assert record["train_loss"] == list(enumerate([2.0, 4.0, 6.0] * 2))
    assert record["rare"] == [(1, 7.0), (4, 7.0)], "only at the steps at which it is logged"
    # What is known at the end of an epoch comes with the step that follows; the last step is closed at the end.
    assert record["val/acc"] == [(3, 0.25), (5, 0.5)]
    assert record["both_epoch"] == [(3, 1.0), (5, 1.0)]
    assert record["train_acc"] == [(3, 0.0), (5, 1.0)]
    assert record["late"] == [(3, 0.0), (5, 1.0)]
    assert warnings() == []


def test_lightning_reports_nothing_that_nobody_names(server, job, tmp_path):
    assert not {"train_loss", "both", "val/acc"} & lightning(server, job, tmp_path).keys()


def test_lightning_says_what_the_module_does_not_log(server, job, tmp_path, warnings):
    register(server, job, controllers("val/f1", "val/acc") | {"total_steps": 6})
    lightning(server, job, tmp_path)
    (text,) = warnings()
    assert f"threshold of {job} names the metric val/f1, which this trainer does not log" in text
    assert "val/acc" in text


def test_lightning_says_at_the_start_that_it_makes_no_evaluation(server, job, tmp_path, warnings):
    register(server, job, controllers("val/acc") | {"total_steps": 3})
    lightning(server, job, tmp_path, validates=False, epochs=1)
    (text,) = warnings()
    assert "validation_step" in text


def hugging(server, job, tmp_path, *, measures=True, logs=None, **arguments):
    class Logging(transformers.Trainer):
        def training_step(self, *args, **kwargs):
            if logs:
                self.log(dict(logs))
            return super().training_step(*args, **kwargs)

    options = {
        "output_dir": str(tmp_path),
        "num_train_epochs": 2,
        "per_device_train_batch_size": 1,
        "learning_rate": 0.1,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "report_to": [],
        "use_cpu": True,
        "save_strategy": "no",
        "eval_strategy": "epoch",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "label_names": ["labels"],
    } | arguments
    data = [{"x": torch.tensor([loss]), "labels": torch.tensor([1.0])} for loss in (1.0, 2.0, 3.0)]
    (Logging if logs else transformers.Trainer)(
        model=Model(),
        args=transformers.TrainingArguments(**options),
        train_dataset=data,
        eval_dataset=data,
        callbacks=[lrs.transformers.LrsCallback(job, server=server.url, **PATIENT)],
        compute_metrics=(lambda _: {"accuracy": 0.5}) if measures else None,
    ).train()
    return server.telemetry(job)


def test_transformers_reports_under_the_names_of_the_spec(server, job, tmp_path, warnings):
    spec = controllers("val_accuracy", "accuracy", "temperature") | {"objective": {"metric": "eval_loss"}}
    register(server, job, spec | {"total_steps": 6})
    record = hugging(server, job, tmp_path, logs={"temperature": 3.0})
    steps = [3, 5]
    for name in ("eval_accuracy", "val_accuracy", "accuracy"):
        assert record[name] == [(step, 0.5) for step in steps], name
    assert [step for step, _ in record["eval_loss"]] == steps
    assert record["eval_loss"] == record["val_loss"]
    assert [value for _, value in record["temperature"]] == [3.0] * 6
    assert warnings() == []


def test_transformers_reports_the_loss_of_an_evaluation_once_if_nothing_names_it(server, job, tmp_path):
    record = hugging(server, job, tmp_path)
    assert "eval_loss" not in record
    assert len(record["val_loss"]) == 2


@pytest.mark.parametrize(
    ("metric", "arguments", "says"),
    [
        ("val_loss", {"eval_strategy": "no"}, "eval_strategy='epoch'"),
        ("eval_accuracy", {"measures": False}, "compute_metrics"),
        ("eval_loss", {"measures": False}, ""),
        ("perplexity", {"measures": False}, ""),
    ],
)
def test_transformers_says_at_the_start_what_it_will_not_measure(
    server, job, tmp_path, warnings, metric, arguments, says
):
    register(server, job, controllers(metric) | {"total_steps": 6})
    hugging(server, job, tmp_path, **arguments)
    assert [says in text for text in warnings()] == ([True] if says else [])


def fit(server, job, *, validates=True, metrics=("accuracy",), **more):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2, activation="softmax")])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy", metrics=list(metrics))
    x, y = np.eye(2, dtype="float32").repeat(3, axis=0), np.array([0, 0, 0, 1, 1, 1])
    callback = lrs.keras.LrsCallback(job, server=server.url, **PATIENT)
    options = {"batch_size": 2, "epochs": 3, "verbose": 0, "callbacks": [callback]} | more
    history = model.fit(x, y, validation_data=(x, y) if validates else None, **options)
    return server.telemetry(job), history.history


def test_keras_reports_the_metrics_of_the_training_that_the_spec_names(server, job, warnings):
    plateau = {"keras_plateau": {"metric": "accuracy", "mode": "max", "patience": 1, "min_delta": 2.0}}
    register(server, job, {"controllers": [plateau], "total_steps": 9})
    record, history = fit(server, job)
    assert record["accuracy"] == [
        (step, pytest.approx(value)) for step, value in zip((3, 6, 8), history["accuracy"], strict=True)
    ]
    assert record["learning_rate"][-1][1] < 0.1, "the controller has acted"
    assert warnings() == []


@pytest.mark.parametrize(
    ("metric", "options", "warned"),
    [
        ("f1", {}, True),
        ("val_f1", {}, True),
        ("val_accuracy", {"validates": False}, True),
        ("val_accuracy", {"validation_freq": 2}, False),
        ("val_accuracy", {}, False),
    ],
)
def test_keras_says_what_fit_does_not_log(server, job, warnings, metric, options, warned):
    register(server, job, controllers(metric) | {"total_steps": 9})
    fit(server, job, **options)
    assert [metric in text for text in warnings()] == [True] * warned


def test_an_evaluation_is_known_by_its_name():
    assert all(is_evaluation(name) for name in ("val_loss", "val/acc", "eval_loss", "valid/top1"))
    assert not any(is_evaluation(name) for name in ("value", "evaluations", "train_loss"))
