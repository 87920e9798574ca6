"""transformers' own Trainer, with a tiny model."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

from lrs.transformers import LrsCallback
from lrs.v1.controller_pb2 import MODE_MAX, MODE_MIN

LINEAR = {"schedule": {"linear": {}}, "deadline": 20.0}


class Rates(TrainerCallback):
    """Records the optimizer's rate at each update."""

    def __init__(self):
        self.used = []
        self.losses = []

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.used.append(kwargs["optimizer"].param_groups[0]["lr"])

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.losses.append((logs["loss"], logs["learning_rate"]))


class Sentences(torch.utils.data.Dataset):
    def __init__(self):
        self.tokens = torch.randint(0, 32, (48, 8), generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


@pytest.fixture
def make(tmp_path):
    def trainer(callback, **arguments):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(vocab_size=32, n_positions=8, n_embd=16, n_layer=1, n_head=2))
        rates = Rates()
        options = {
            "output_dir": str(tmp_path / "out"),
            "num_train_epochs": 2,
            "per_device_train_batch_size": 8,
            "learning_rate": 0.01,
            "lr_scheduler_type": "constant",
            "logging_steps": 1,
            "report_to": [],
            "use_cpu": True,
            "max_grad_norm": 0.0,
            "save_strategy": "no",
            "disable_tqdm": True,
        } | arguments
        return rates, Trainer(
            model=model,
            args=TrainingArguments(**options),
            train_dataset=Sentences(),
            eval_dataset=Sentences(),
            callbacks=[callback, rates],
        )

    return trainer


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_trainer_uses_and_logs_the_rates_of_the_service(server, job, make, accumulation):
    rates, trainer = make(
        LrsCallback(job, server=server.url, **LINEAR), gradient_accumulation_steps=accumulation, eval_strategy="epoch"
    )
    trainer.train()
    steps = 12 // accumulation
    expected = [0.01 * (1 - step / steps) for step in range(steps)]
    assert rates.used == pytest.approx(expected)
    record = server.record(job)
    assert list(record["learning_rate"].values()) == rates.used
    assert list(record["loss"].values()) == pytest.approx([loss for loss, _ in rates.losses], abs=1e-3)
    assert [rate for _, rate in rates.losses] == pytest.approx(expected)
    assert all(norm > 0 for norm in record["grad_norm"].values())
    assert sorted(record["val_loss"]) == [steps // 2, steps - 1]
    assert server.job(job).spec.total_steps == steps


def test_a_trainer_that_was_interrupted_resumes_the_attempt_s_history(server, job, make):
    rates, trainer = make(LrsCallback(job, server=server.url, **LINEAR), save_strategy="steps", save_steps=5)
    trainer.train()
    again, trainer = make(LrsCallback(job, server=server.url, **LINEAR), save_strategy="steps", save_steps=5)
    trainer.train(resume_from_checkpoint=str(trainer.args.output_dir) + "/checkpoint-5")
    assert again.used == rates.used[5:]
    assert [(one.attempt, one.resume_step) for one in server.attempts(job)] == [(1, 0), (2, 5)]


def test_the_norm_of_a_gradient_that_the_trainer_clips_is_that_before_clipping(server, job, make):
    _, trainer = make(LrsCallback(job, server=server.url, **LINEAR), max_grad_norm=1e-3, max_steps=3)
    trainer.train()
    record = server.record(job)
    assert len(record["loss"]) == 3
    assert all(norm > 0.1 for norm in record["grad_norm"].values())


@pytest.mark.parametrize(
    ("metric", "rises", "expected"),
    [
        ("loss", None, ("val_loss", MODE_MIN)),
        ("eval_my score", True, ("eval_my_score", MODE_MAX)),
        (None, None, ("", 0)),
    ],
)
def test_the_metric_of_the_best_checkpoint_is_the_job_s_objective(server, job, make, metric, rises, expected):
    _, trainer = make(
        LrsCallback(job, server=server.url, **LINEAR),
        metric_for_best_model=metric,
        greater_is_better=rises,
        max_steps=2,
    )
    trainer.train()
    objective = server.job(job).spec.objective
    assert (objective.metric, objective.mode) == expected
    # The job's objective stays as it is registered, and that is no difference to warn of.
    _, trainer = make(
        LrsCallback(job, server=server.url, strict=True, **LINEAR), metric_for_best_model="accuracy", max_steps=2
    )
    trainer.train()
    assert server.job(job).spec.objective == objective
