"""What people write for a spec: what means the same is read the same."""

import math

import pytest

import lrs
from lrs.job import base_rates, job_spec
from lrs.v1.job_pb2 import JobSpec
from lrs.written import canonical

RATES = {"default": 0.1}


def spec(**arguments):
    return job_spec(arguments, RATES)


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ({"schedule": "cosine"}, {"schedule": {"cosine": {}}}),
        ({"schedule": "Cosine"}, {"schedule": {"cosine": {}}}),
        ({"schedule": {"inverse-sqrt": {"timescale": "5"}}}, {"schedule": {"inverse_sqrt": {"timescale": 5}}}),
        ({"controllers": "auto"}, {"controllers": [{"auto": {}}]}),
        ({"controllers": ["auto", {"greedy": {}}]}, {"controllers": [{"auto": {}}, {"greedy": {}}]}),
        ({"controllers": ({"auto": {}},)}, {"controllers": [{"auto": {}}]}),
        ({"total_steps": "1e5"}, {"total_steps": 100000}),
        ({"total_steps": 100.0}, {"total_steps": 100}),
        ({"total_steps": 9, "arm": "baseline"}, {"total_steps": 9, "arm": "ARM_BASELINE"}),
        ({"total_steps": 9, "labels": {"year": 2026}}, {"total_steps": 9, "labels": {"year": "2026"}}),
        ({"spec": {"totalSteps": 7, "seed": None}}, {"total_steps": 7}),
    ],
)
def test_what_means_the_same_is_read_the_same(written, plain):
    assert spec(**written) == spec(**plain)


def test_a_numpy_number_is_a_number():
    numpy = pytest.importorskip("numpy")
    assert spec(total_steps=numpy.int64(5), seed=numpy.int32(3)) == spec(total_steps=5, seed=3)


def test_two_forms_of_one_choice_are_refused():
    with pytest.raises(
        lrs.UsageError, match=r"schedule\.linear: the field 'linear' is not allowed here: 'cosine' is there"
    ):
        spec(schedule={"cosine": {}, "linear": {}})


def test_a_whole_spec_stays_as_it_is():
    document = {
        "groups": [{"name": "a", "base_lr": 0.1}],
        "schedule": {"library": "torch", "scheduler": "StepLR", "params": {"step_size": 5}},
        "objective": {"metric": "val_loss", "mode": "MODE_MIN", "target": 0.5},
    }
    assert canonical(JobSpec.DESCRIPTOR, document) == document


NESTED: dict = {}
NESTED["gamma"] = NESTED


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (
            {"spec": {"rate_limits": {"max_lr": math.inf}}},
            "rate_limits.max_lr: inf is not allowed here: write a finite",
        ),
        (
            {"spec": {"rate_limits": {"max_lr": "1e999"}}},
            "rate_limits.max_lr: '1e999' is not allowed here: write a finite",
        ),
        (
            {"controllers": [{"threshold": {"metric": "loss", "above": "nan"}}]},
            "controllers[0].threshold.above: 'nan' is not allowed here: write a finite",
        ),
        ({"objective": {"metric": "loss", "target": -math.inf}}, "objective.target: -inf is not allowed here"),
        ({"schedule": {"exponential": {"gamma": math.nan}}}, "schedule.exponential.gamma: nan is not allowed here"),
        ({"target_epochs": math.inf, "steps_per_epoch": 3}, "target_epochs: inf is not allowed here"),
        ({"total_steps": math.nan}, "total_steps: nan is not allowed here: write a whole number"),
        ({"total_steps": "9" * 5000}, "total_steps: '999"),
        ({"total_steps": 10**5000}, "total_steps: a value of type int is not allowed here"),
        ({"seed": 2**63}, "seed: 9223372036854775808 is not allowed here"),
        (
            {"schedule": {"library": "torch", "scheduler": "LambdaLR", "params": {"lr_lambda": max}}},
            "schedule.params.lr_lambda: <built-in function max> is not allowed here: write a number, a text",
        ),
        (
            {"schedule": {"library": "torch", "scheduler": "StepLR", "params": {"a": [1, {"b": math.nan}]}}},
            "schedule.params.a[1].b: nan is not allowed here: write a finite",
        ),
        ({"schedule": {"library": "torch", "scheduler": "StepLR", "params": NESTED}}, "nested too deeply"),
        ({"labels": {"a": "\ud800"}}, "labels.a: '\\ud800' is not allowed here: write a text"),
        ({"experiment": "\ud800"}, "experiment: '\\ud800' is not allowed here: write a text"),
    ],
)
def test_what_no_message_can_hold_is_refused_with_its_place(written, says):
    with pytest.raises(lrs.UsageError) as refused:
        spec(**({"total_steps": 9} | written))
    assert says in str(refused.value)
    assert "Failed to parse" not in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("rate", [math.nan, math.inf, "1e999"])
def test_a_base_rate_is_finite(rate):
    with pytest.raises(lrs.UsageError, match="'head' must be a finite number"):
        base_rates({"head": rate})


def test_arguments_of_a_library_may_be_of_numpy():
    numpy = pytest.importorskip("numpy")
    params = {"milestones": numpy.array([3, 6]), "gamma": numpy.float64(0.5), "verbose": None, "x": (1, True, "a")}
    made = spec(total_steps=9, schedule={"library": "torch", "scheduler": "MultiStepLR", "params": params}).schedule
    assert dict(made.params) == {"milestones": [3, 6], "gamma": 0.5, "verbose": None, "x": [1, True, "a"]}
