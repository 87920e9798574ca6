"""Arguments as people type them: plain names, any scalar, and complaints in the words that were typed."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import lrs
import lrs.torch
from lrs.job import job_spec
from lrs.v1.schedule_pb2 import UNIT_EPOCH

SCALARS = [
    1,
    1.0,
    True,
    np.float32(1),
    np.float16(1),
    np.int64(1),
    np.bool_(1),
    np.array(1.0),
    np.array([1.0]),
    np.array([[[1]]]),
    torch.tensor(1.0),
    torch.tensor([[1.0]]),
    torch.tensor(1),
    torch.tensor([1.0], requires_grad=True),
    torch.tensor(1.0, dtype=torch.bfloat16),
    torch.nn.Parameter(torch.tensor(1.0)),
    jnp.array(1.0),
    jnp.array([[1.0]]),
    Decimal(1),
    Fraction(1),
]


def make(server, job, **more):
    return lrs.Scheduler(job, **({"server": server.url, "groups": 0.1, "total_steps": 100, "deadline": 20.0} | more))


@pytest.mark.parametrize("controller", [None, "auto"])
@pytest.mark.parametrize(
    "schedule", ["cosine", "wsd", "linear", "constant", "one_cycle", "polynomial", "Cosine", " WSD ", "one-cycle"]
)
def test_a_plain_name_is_a_schedule(server, job, schedule, controller):
    with make(server, job, schedule=schedule, controller=controller) as scheduler:
        for _ in range(3):
            scheduler.step(1.0, 1.0)
        assert scheduler.learning_rate > 0
    spec = server.job(job).spec
    assert spec.HasField("schedule")
    assert [kept.WhichOneof("kind") for kept in spec.controllers] == ([controller] if controller else [])


def test_wsd_decays_over_the_last_fifth(server, job):
    with make(server, job, schedule="wsd") as scheduler:
        rates = [scheduler.learning_rate] + [scheduler.step(1.0).rates[0] for _ in range(99)]
    assert rates[:81] == [0.1] * 81
    assert all(later < earlier for earlier, later in pairwise(rates[80:]))
    assert rates[99] < 0.02


def test_a_plain_name_works_for_the_controllers_too(server, job):
    with make(server, job, schedule="cosine", controllers="reduce_lr_on_plateau", steps_per_epoch=10) as scheduler:
        scheduler.step(1.0)
    assert server.job(job).spec.controllers[0].HasField("reduce_lr_on_plateau")


@pytest.mark.parametrize("value", SCALARS, ids=lambda value: f"{type(value).__module__}.{type(value).__name__}")
def test_every_scalar_is_a_number(server, job, value):
    with make(server, job) as scheduler:
        scheduler.step(value, value, {"metric": value})
        scheduler.log(val_loss=value)
        scheduler.step(1.0)
    record = server.record(job)
    for name, step in (("loss", 0), ("grad_norm", 0), ("metric", 0), ("val_loss", 1)):
        assert record[name][step] == 1.0


@pytest.mark.parametrize("value", [np.float32(0.5), np.array([0.5]), torch.tensor(0.5), Decimal("0.5")])
def test_a_rate_is_any_scalar_of_the_host(server, job, value):
    with make(server, job, groups=value) as scheduler:
        assert scheduler.learning_rate == 0.5
        scheduler.step(1.0, learning_rate=value)
    assert server.record(job)["learning_rate"] == {0: 0.5}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"groups": -1.0}, "invalid argument: groups: -1 is not allowed"),
        ({"groups": {"head": 0.1, "body": -1.0}}, "invalid argument: groups['body']: -1 is not allowed"),
        ({"total_steps": 0}, "invalid argument: total_steps: 0 is not allowed"),
        ({"tier": 9}, "invalid argument: tier: 9 is not allowed: must be from 0 to 2"),
        (
            {"schedule": "step"},
            "schedule: 'step' needs step_size, as in {'step': {'step_size': …}}, which must be from 1",
        ),
        (
            {"schedule": "chain"},
            "schedule: 'chain' needs links, as in {'chain': {'links': …}}, which must be from 1 to 16",
        ),
        (
            {"schedule": "seq"},
            "schedule: 'seq' needs parts, as in {'seq': {'parts': …}}, which must have at least one entry",
        ),
        ({"schedule": "pace"}, "schedule: 'pace' needs schedule, as in {'pace': {'schedule': …}}, which is required"),
        ({"spec": {"schedule": "repeat"}}, "schedule: 'repeat' needs body, as in {'repeat': {'body': …}}"),
        ({"total_steps": "0.001ep", "steps_per_epoch": 10}, "total_steps: '0.001ep', which is 0, is not allowed"),
        (
            {"schedule": {"step": {"step_size": "0.001%"}}},
            "schedule.step.step_size: '0.001%', which is 0, is not allowed: must be from 1",
        ),
        ({"schedule": {"step": {}}}, "schedule.step.step_size is missing: it must be from 1"),
        ({"schedule": {"step": {"step_size": 0}}}, "schedule.step.step_size: 0 is not allowed"),
        ({"schedule": "cosine", "total_steps": None}, "schedule: 'cosine' needs total_steps"),
        ({"schedule": "wsd", "total_steps": None}, "schedule: 'wsd' needs"),
        (
            {"controllers": {"reduce_lr_on_plateau": {"factor": 3}}},
            "controllers.reduce_lr_on_plateau.factor: 3 is not allowed: must be greater than 0 and less than 1",
        ),
        (
            {"controllers": ["auto", {"reduce_lr_on_plateau": {"factor": 3}}]},
            "controllers[1].reduce_lr_on_plateau.factor: 3 is not allowed",
        ),
        (
            {"groups": 0.1, "tier": 9, "decision_lag": -1},
            "decision_lag: -1 is not allowed: must be from 1 to 4096; tier: 9",
        ),
    ],
)
def test_a_complaint_is_in_the_words_that_were_typed(server, job, arguments, says):
    with pytest.raises(lrs.RefusedError) as refused:
        make(server, job, **arguments)
    assert says in str(refused.value)
    assert "job.spec" not in str(refused.value)
    assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")


def test_a_rate_of_an_optimizer_is_named_by_its_group(server, job):
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "name": "head"}, {"params": [torch.zeros(1)]}], lr=0.1)
    optimizer.param_groups[0]["lr"] = -1.0
    with pytest.raises(lrs.RefusedError, match=r"groups\['head'\]: -1 is not allowed"):
        lrs.torch.LRScheduler(optimizer, job, server=server.url, total_steps=10)


@pytest.mark.parametrize(
    ("spec", "plain"),
    [
        ({"schedule": "constant"}, {"schedule": {"base": 1}}),
        ({"schedule": "wsd", "total_steps": 50}, {"schedule": {"wsd": {"decay_steps": 10}}, "total_steps": 50}),
        (
            {"schedule": {"warmup": {"warmup_steps": 5, "schedule": "constant"}}, "momentum_schedule": "Constant"},
            {
                "schedule": {"warmup": {"warmup_steps": 5, "schedule": {"base": 1}}},
                "momentum_schedule": {"base": 1},
            },
        ),
        (
            {"groups": [{"name": "a", "base_lr": 0.1, "schedule": "wsd"}], "total_steps": 50},
            {"groups": [{"name": "a", "base_lr": 0.1, "schedule": {"wsd": {"decay_steps": 10}}}], "total_steps": 50},
        ),
        (
            {"schedule": {"seq": {"parts": ["constant", {"base": 0.5}], "boundaries": [5]}}},
            {"schedule": {"seq": {"parts": [{"base": 1}, {"base": 0.5}], "boundaries": [5]}}},
        ),
    ],
)
def test_a_plain_name_means_the_same_wherever_a_schedule_stands(spec, plain):
    groups = {} if "groups" in spec else {"default": 0.1}
    assert job_spec({"spec": spec}, groups) == job_spec({"spec": plain}, groups)


def test_the_rate_is_constant_without_a_length_too(server, job):
    with make(server, job, schedule="constant", total_steps=None) as scheduler:
        assert [scheduler.step(1.0).rates[0] for _ in range(5)] == [0.1] * 5


@pytest.mark.parametrize("controller", ["greedy", " Greedy", {"greedy": {}}, ["greedy"]])
def test_any_controller_may_be_named_alone(controller):
    spec = job_spec({"controller": controller, "total_steps": 9}, {"default": 0.1})
    assert [kept.WhichOneof("kind") for kept in spec.controllers] == ["greedy"]


@pytest.mark.parametrize(
    ("controller", "says"),
    [
        ("gready", "'gready' is not allowed here: did you mean 'greedy'?"),
        ({"auto": {}, "greedy": {}}, "'auto' is there already"),
        (5, "5 is not allowed here"),
    ],
)
def test_a_controller_that_is_none_is_refused_in_words(controller, says):
    with pytest.raises(lrs.UsageError) as refused:
        job_spec({"controller": controller, "total_steps": 9}, {"default": 0.1})
    assert says in str(refused.value)


@pytest.mark.parametrize("controller", ["auto", " Auto", {"auto": {}}])
def test_auto_may_be_written_short_or_long(server, job, controller):
    with make(server, job, controller=controller):
        pass
    assert [kept.WhichOneof("kind") for kept in server.job(job).spec.controllers] == ["auto"]


@pytest.mark.parametrize("written", ["ep", "epochs", "Epoch", "UNIT_EPOCH"])
def test_a_unit_has_the_words_that_lengths_have(written):
    spec = job_spec(
        {"controllers": [{"reduce_lr_on_plateau": {"unit": written}}], "steps_per_epoch": 3}, {"default": 0.1}
    )
    assert spec.controllers[0].reduce_lr_on_plateau.unit == UNIT_EPOCH


@pytest.mark.parametrize(
    ("written", "meant"),
    [("epohc", "epoch"), ("smaple", "sample")],
)
def test_the_word_that_was_probably_meant_is_named(written, meant):
    with pytest.raises(lrs.UsageError, match=f"did you mean '{meant}'"):
        job_spec({"controllers": [{"reduce_lr_on_plateau": {"unit": written}}]}, {"default": 0.1})
