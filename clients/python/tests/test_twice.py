"""What is given twice, as an argument and in `spec`."""

import logging

import pytest
import torch

import lrs
import lrs.jax
import lrs.keras
import lrs.lightning
import lrs.torch
import lrs.transformers
from lrs.job import job_spec
from lrs.study import Study
from trainers import Keras, Lightning, Transformers
from training import Run


def spec(groups=None, **arguments):
    return job_spec(arguments, groups if groups is not None else {"default": 0.1})


@pytest.mark.parametrize(
    ("fields", "arguments"),
    [
        ({"total_steps": 5}, {"total_steps": 6}),
        ({"totalSteps": 5}, {"total_steps": 6}),
        ({"total-steps": "1ep", "steps_per_epoch": 5}, {"total_steps": 6}),
        ({"tier": 1}, {"tier": 0}),
        ({"tier": 0}, {"tier": 1}),
        ({"schedule": "linear"}, {"schedule": "cosine", "total_steps": 9}),
        ({"controllers": ["auto"]}, {"controllers": ["greedy"]}),
        ({"decision_lag": 1}, {"decision_lag": 2}),
        ({"objective": "val_loss"}, {"objective": "val_accuracy"}),
        ({"labels": {"a": "b"}}, {"labels": {"a": "c"}}),
        ({"seed": 0}, {"seed": 1}),
        ({"target_epochs": 2, "steps_per_epoch": 3}, {"target_epochs": 3}),
    ],
    ids=str,
)
def test_two_values_are_refused_with_both(fields, arguments):
    with pytest.raises(lrs.UsageError) as refused:
        spec(spec=fields, **arguments)
    name = next(iter(arguments))
    assert f"{name} is given twice: {arguments[name]!r:.60} as an argument, and " in str(refused.value)
    assert "in spec. Give it once." in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "arguments"),
    [
        ({"total_steps": "1ep", "steps_per_epoch": 6}, {"total_steps": 6}),
        ({"total_steps": "6", "schedule": {"cosine": {}}}, {"total_steps": 6, "schedule": "Cosine"}),
        ({"schedule": "wsd", "total_steps": 10}, {"schedule": {"wsd": {"decay_steps": 2}}}),
        ({"tier": 0, "total_steps": 1}, {"tier": 0}),
        ({"controllers": "auto"}, {"controllers": [{"auto": {}}]}),
        ({"total_steps": None}, {"total_steps": 6}),
        ({"total_steps": 6}, {"total_steps": None}),
    ],
    ids=str,
)
def test_the_same_twice_is_fine(fields, arguments):
    both = spec(spec=fields, **arguments)
    assert both == spec(spec={**arguments, **{name: value for name, value in fields.items() if value is not None}})


def test_two_spellings_of_a_field_in_a_spec_are_refused():
    with pytest.raises(lrs.UsageError, match="is there already"):
        spec(spec={"total_steps": 5, "totalSteps": 6})


class TestGroups:
    def test_two_base_rates_are_refused(self):
        for groups in ([{"base_lr": 1}], [{"name": "default", "base_lr": 1}], {"base_lr": 1}):
            with pytest.raises(
                lrs.UsageError, match=r"'default' is given twice: 0\.1 by the trainer, and 1\.0 in spec"
            ):
                spec(spec={"groups": groups})

    def test_the_same_base_rate_twice_is_fine(self):
        made = spec(
            {"a": 0.1, "b": 0.2}, spec={"groups": [{"name": "a", "base_lr": "0.1"}, {"name": "b", "base_lr": 0.2}]}
        )
        assert [(group.name, group.base_lr) for group in made.groups] == [("a", 0.1), ("b", 0.2)]

    def test_a_group_without_a_base_rate_has_that_of_the_trainer(self):
        made = spec({"a": 0.1, "b": 0.2}, spec={"groups": [{"name": "a"}, {"name": "b", "schedule": {"base": 0.5}}]})
        assert [(group.name, group.base_lr) for group in made.groups] == [("a", 0.1), ("b", 0.2)]
        assert made.groups[1].schedule.base == 0.5

    def test_other_names_are_refused(self):
        for groups in ({"default": 0.1}, {"b": 0.1, "a": 0.2}):
            with pytest.raises(lrs.UsageError, match="groups is given twice"):
                spec(groups, spec={"groups": [{"name": "a", "base_lr": 0.1}, {"name": "b", "base_lr": 0.1}]})

    def test_an_optimizer_and_a_spec_agree_or_are_refused(self, server, job):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
        options = {"server": server.url, "total_steps": 5}
        with pytest.raises(lrs.UsageError, match="is given twice"):
            lrs.torch.LRScheduler(optimizer, job, spec={"groups": [{"base_lr": 0.1}]}, **options)
        lrs.torch.LRScheduler(optimizer, job, spec={"groups": [{"base_lr": 0.5}]}, **options).close()


def test_the_tier_in_a_spec_is_the_trainer_s(server, job, caplog):
    with lrs.Scheduler(job, server=server.url, groups=0.1, total_steps=5, spec={"tier": 1}) as scheduler:
        assert scheduler.tier == 1
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    with lrs.torch.LRScheduler(
        optimizer, f"{job}-torch", server=server.url, total_steps=5, spec={"tier": 1, "decision_lag": 4}
    ) as scheduler:
        assert (scheduler.core.tier, scheduler.core.spec.decision_lag) == (1, 4)
    with lrs.jax.Scheduler(
        f"{job}-jax", server=server.url, groups=0.1, total_steps=5, spec={"decision_lag": 4}
    ) as scheduler:
        assert scheduler.spec.decision_lag == 4
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


FIELDS = {"total_steps": 100, "steps_per_epoch": 7, "tier": 0, "objective": "val_accuracy"}


@pytest.mark.parametrize("driver", [Keras, Transformers, Lightning])
def test_what_a_spec_says_holds_in_place_of_what_the_trainer_fills_in(server, job, tmp_path, driver):
    where = {} if driver is Keras else {"directory": tmp_path}
    driver().train(server, job, Run([1.0] * 2, epochs=2, options={"spec": FIELDS}), **where)
    found = server.job(job).spec
    assert (found.total_steps, found.steps_per_epoch, found.tier) == (100, 7, 0)
    assert found.objective.metric == "val_accuracy"


def test_what_a_trial_gives_takes_the_place_of_what_its_study_shares(server, job):
    study = Study(job, server=server.url, spec={"totalSteps": 100, "seed": 7, "experiment": "e"})
    made = study.options(1, groups=0.1, total_steps=50)
    made.pop("job")
    found = job_spec(made, {"default": 0.1})
    assert (found.total_steps, found.seed, found.experiment) == (50, 7, "e")
