"""Lengths in words: the same spec has the same steps on the command line and in Python."""

import json

import pytest

import lrs
from lrs.job import job_name, job_spec
from lrs.lengths import rounded


def spec(**arguments):
    return job_spec(arguments, {"default": 0.1})


@pytest.mark.parametrize(
    ("exact", "whole"),
    [
        (0.0, 0),
        (0.5, 1),
        (1.5, 2),
        (2.5, 3),
        (12.5, 13),
        (0.49999999999999994, 0),
        (2**52 + 1.0, 2**52 + 1),
        (-0.5, -1),
    ],
)
def test_halves_go_away_from_zero(exact, whole):
    assert rounded(exact) == whole


SPECS = [
    {"target_epochs": 2.5, "steps_per_epoch": 5, "schedule": {"warmup": {"warmup_steps": "50%"}}},
    {"target_epochs": 0.5, "steps_per_epoch": 5, "schedule": {"warmup": {"warmup_steps": "50%"}}},
    {"total_steps": "2.5ep", "steps_per_epoch": 5, "schedule": {"warmup": {"warmup_steps": "0.5ep"}}},
    {"total_steps": 1050, "schedule": {"warmup": {"warmup_steps": "29%"}}},
    {"total_steps": 50, "schedule": {"warmup": {"warmup_steps": "0.29dur"}}},
    {"total_steps": "1e6tok", "tokens_per_step": 49, "schedule": {"warmup": {"warmup_steps": "1127tok"}}},
    {"total_steps": 250, "schedule": {"warmup": {"warmup_steps": "1.4%"}}},
    {"total_steps": "+20 EP", "steps_per_epoch": "7", "schedule": {"warmup": {"warmup_steps": ".5 ep"}}},
]


@pytest.mark.parametrize("words", SPECS, ids=str)
def test_a_job_of_the_command_line_is_the_same_job(server, job, tmp_path, words):
    groups = [{"name": "default", "base_lr": 0.1}]
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"name": job_name(job), "spec": {"groups": groups, **words}}))
    assert server.run("job", "register", "-f", str(path)).returncode == 0
    # A trainer that asks for another spec is refused.
    lrs.Scheduler(job, server=server.url, groups=0.1, spec=words, strict=True).close()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"total_steps": "1e308ep", "steps_per_epoch": 1000}, "total_steps: '1e308ep' is not allowed: write a length"),
        ({"total_steps": "-3ep", "steps_per_epoch": 7}, "total_steps: '-3ep' is not allowed"),
        ({"total_steps": "1e999ep", "steps_per_epoch": 7}, "total_steps: '1e999ep' is not a length"),
        ({"total_steps": "٣ep", "steps_per_epoch": 7}, "is not a length"),
        ({"total_steps": "3 eons"}, "total_steps: '3 eons' is not a length"),
        ({"total_steps": "3ep"}, "total_steps: '3ep' needs the job's steps_per_epoch, in the same spec"),
        ({"schedule": {"warmup": {"warmup_steps": "5%"}}}, "warmup_steps: '5%' needs the job's total_steps"),
        ({"total_steps": "9tok"}, "total_steps: '9tok' needs the job's tokens_per_step"),
    ],
)
def test_a_word_that_cannot_be_read_is_refused(words, says):
    with pytest.raises(lrs.UsageError) as refused:
        spec(**words)
    assert says in str(refused.value)


def test_a_length_is_read_however_its_field_is_spelt():
    plain = spec(total_steps=21, steps_per_epoch=7, schedule={"warmup": {"warmup_steps": 2}})
    for words in (
        {"total-steps": "3ep", "steps-per-epoch": 7, "schedule": {"warmup": {"warmup-steps": "10%"}}},
        {"totalSteps": "3ep", "stepsPerEpoch": 7, "schedule": {"warmup": {"warmupSteps": "10%"}}},
    ):
        assert spec(spec=words) == plain
