"""The curve and the weight decay of Megatron's own scheduler, its bound of the gradient, and its count of samples."""

import warnings

import pytest
import torch

import lrs
from lrs.megatron import OptimizerParamScheduler
from trainer_megatron import Optimizer, train_step
from training import PATIENT, Model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler as Theirs

CURVES = {
    "cosine": {"lr_decay_style": "cosine"},
    "linear": {"lr_decay_style": "linear", "lr_warmup_steps": 0},
    "WSD": {"lr_decay_style": "WSD", "wsd_decay_steps": 16, "lr_wsd_decay_style": "linear"},
    "inverse": {"lr_decay_style": "inverse-square-root"},
}


def theirs(optimizer, **more):
    options = {
        "init_lr": 0.0,
        "max_lr": 0.1,
        "min_lr": 0.01,
        "lr_warmup_steps": 8,
        "lr_decay_steps": 40,
        "start_wd": 0.0,
        "end_wd": 0.1,
        "wd_incr_steps": 40,
        "wd_incr_style": "linear",
    } | more
    return Theirs(optimizer, **options)


def optimizer_of(model, **second):
    groups = [{"params": [model.weight]}, {"params": [model.frozen], "wd_mult": 0.0, **second}]
    return Optimizer(groups)


def trained(optimizer, scheduler, model, steps, samples=4):
    used = []
    for _ in range(steps):
        loss = train_step(model, optimizer, scheduler, [1.0] * samples)
        if hasattr(scheduler, "report"):
            scheduler.report(loss)
        used.append([(group["lr"], group["weight_decay"]) for group in optimizer.param_groups])
    return optimizer.used, used


@pytest.mark.parametrize("second", [{}, {"max_lr": 0.05, "min_lr": 0.005}], ids=["alike", "another_rate"])
@pytest.mark.parametrize("curve", CURVES)
def test_the_curve_of_megatron_is_the_job_s(server, job, curve, second):
    model = Model()
    alone = optimizer_of(model, **second)
    rates, _ = trained(alone, theirs(alone, **CURVES[curve]), model, 12)
    followed = optimizer_of(model, **second)
    scheduler = OptimizerParamScheduler(
        followed, job, replaces=theirs(followed, **CURVES[curve]), samples_per_step=4, server=server.url, **PATIENT
    )
    with scheduler:
        used, groups = trained(followed, scheduler, model, 12)
        assert groups[-1][1][1] == 0.0, "a group without weight decay stays without"
        assert groups[-1][0][1] == pytest.approx(0.1), "the weight decay rises as by Megatron"
        assert groups[-1][1][0] == pytest.approx(groups[-1][0][0] * second.get("max_lr", 0.1) / 0.1)
    assert used == pytest.approx(rates, rel=1e-9)
    assert scheduler.num_steps == 48
    assert list(server.record(job)["learning_rate"].values()) == pytest.approx(rates, rel=1e-9)
    assert "grad_norm" in server.record(job)


def test_groups_with_curves_of_other_forms_are_refused(server, job):
    optimizer = optimizer_of(Model(), max_lr=0.05, min_lr=0.01)
    own = theirs(optimizer, lr_decay_style="cosine")
    with pytest.raises(lrs.UsageError, match="different forms"):
        OptimizerParamScheduler(optimizer, job, replaces=own, server=server.url, **PATIENT)


def test_megatron_clips_to_the_service_s_bound_until_the_end(server, job):
    model = Model()
    optimizer = Optimizer([model.weight])
    optimizer.config.clip_grad = 3.0
    with OptimizerParamScheduler(optimizer, job, server=server.url, total_steps=10, **PATIENT) as scheduler:
        trained(optimizer, scheduler, model, 1)
        assert optimizer.config.clip_grad == 3.0, "the service has no bound yet"
        scheduler._flush()
        scheduler.scheduler._directive = scheduler.scheduler._directive._replace(clip_norm=0.5)
        trained(optimizer, scheduler, model, 1)
        assert optimizer.config.clip_grad == 0.5
    assert optimizer.config.clip_grad == 3.0
    assert "step" not in vars(optimizer)


def test_a_checkpoint_right_after_an_update_counts_it(server, job):
    model = Model()
    optimizer = Optimizer([model.weight])
    with OptimizerParamScheduler(optimizer, job, server=server.url, total_steps=10, **PATIENT) as scheduler:
        trained(optimizer, scheduler, model, 3)
        state = scheduler.state_dict()
    assert (state["step"], state["num_steps"]) == (3, 12)
    again = Optimizer([model.weight])
    with OptimizerParamScheduler(again, job, server=server.url, **PATIENT) as scheduler:
        scheduler.load_state_dict(state)
        trained(again, scheduler, model, 2)
        assert scheduler.num_steps == 20
    assert list(server.record(job)["loss"]) == [0, 1, 2, 3, 4]
    assert torch.isfinite(model.weight).all()
