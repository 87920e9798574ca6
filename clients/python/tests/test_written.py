"""What people write for a spec: what means the same is read the same."""

import pytest

import lrs
from lrs.job import job_spec
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
