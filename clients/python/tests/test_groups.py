"""Parameter groups: many of them, with the names that people give, and groups that are unfrozen later."""

import itertools

import pytest
import torch

import lrs
from lrs.torch import LRScheduler
from server import wait_for

PATIENT = {"deadline": 20.0, "close_timeout": 20.0}
CUT = {"reduce_lr_on_plateau": {"patience": 3, "factor": 0.5, "unit": "UNIT_STEP"}}


def optimizer(**rates):
    groups = [{"name": name, "params": [torch.nn.Parameter(torch.ones(1))], "lr": rate} for name, rate in rates.items()]
    return torch.optim.SGD(groups)


def train(scheduler, steps):
    """Train with a loss that never improves. Returns the optimizer's rates after each step."""
    seen = []
    for _ in range(steps):
        scheduler.optimizer.step()
        scheduler.step(1.0)
        seen.append([group["lr"] for group in scheduler.optimizer.param_groups])
    return seen


def test_layer_wise_decay_may_have_a_thousand_groups_of_any_printable_name(server, job):
    rates = {f"layer/{layer}: no decay": 0.1 * 0.99**layer for layer in range(1024)}
    scheduler = LRScheduler(
        optimizer(**rates), job, server=server.url, total_steps=100, schedule={"linear": {}}, **PATIENT
    )
    seen = train(scheduler, 10)
    scheduler.close()
    assert seen[-1] == pytest.approx([rate * 0.9 for rate in rates.values()])
    assert [group.name for group in server.job(job).spec.groups] == list(rates)


@pytest.mark.parametrize("names", [{"a\nb": 0.1}, {"": 0.1, "b": 0.1}, {"x" * 101: 0.1}])
def test_a_name_that_cannot_be_printed_is_refused(server, job, names):
    with pytest.raises(lrs.RefusedError, match="printable"):
        lrs.Scheduler(job, server=server.url, groups=names, total_steps=10, **PATIENT)


def test_a_new_attempt_adds_groups_and_leaves_the_others_alone(server, job):
    first = LRScheduler(optimizer(head=0.1), job, server=server.url, controllers=[CUT], **PATIENT)
    before = train(first, 20)
    first.close()

    grown = optimizer(**{"head": 0.1, "layer/1": 0.02})
    second = LRScheduler(grown, job, server=server.url, controllers=[CUT], resume_step=10, **PATIENT)
    again = train(second, 40)
    second.close()

    assert [rates[0] for rates in again[:10]] == [rates[0] for rates in before[10:]]
    told = server.job(job).spec.groups
    assert [(group.name, group.base_lr) for group in told] == [("head", 0.1), ("layer/1", 0.02)]
    # The group keeps its rate until the service tells one, begins with its base rate, and is cut with the other.
    new = [rates[1] for rates in again]
    assert new[0] == 0.02
    assert new[-1] < 0.02
    cuts = [(a, b) for a, b in itertools.pairwise(again) if b[1] < a[1]]
    assert all(b == pytest.approx([rate * 0.5 for rate in a]) for a, b in cuts)


def test_an_order_adds_groups_while_training_runs(server, job):
    grown = optimizer(head=0.1)
    scheduler = LRScheduler(grown, job, server=server.url, controllers=[CUT], **PATIENT)
    train(scheduler, 10)
    done = server.run("job", "update", job, "--set", "spec.groups[1]={name: no decay, base_lr: 0.02}")
    assert done.returncode == 0, done.stderr
    train(scheduler, 5)
    grown.add_param_group({"name": "no decay", "params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.7})
    seen = train(scheduler, 30)
    scheduler.close()
    assert 0.7 not in seen[-1]
    assert seen[-1][1] < 0.02
    wait_for("the telemetry", lambda: len(server.record(job)["loss"]) == 45)


class TestBadGroups:
    """Groups that are added while training runs, where the service refuses some."""

    def grow(self, server, job, caplog, *added):
        grown = optimizer(head=0.1)
        scheduler = LRScheduler(grown, job, server=server.url, schedule={"base": 0.5}, total_steps=1000, **PATIENT)
        train(scheduler, 3)
        for name, rate in added:
            grown.add_param_group({"name": name, "params": [torch.nn.Parameter(torch.ones(1))], "lr": rate})
        return scheduler

    def known(self, server, job):
        return [(group.name, group.base_lr) for group in server.job(job).spec.groups]

    def test_a_bad_name_is_made_to_fit_and_keeps_no_other_out(self, server, job, caplog):
        names = ["good", "bad\nname", "", "x" * 300, "last"]
        scheduler = self.grow(server, job, caplog, *((name, 0.2) for name in names))
        expected = ["head", "good", "bad_name:2", "group:3", f"{'x' * 98}:4", "last"]
        wait_for("the groups", lambda: train(scheduler, 1) and len(self.known(server, job)) == 6)
        assert [name for name, _ in self.known(server, job)] == expected
        wait_for("their rates", lambda: train(scheduler, 1)[0][1:] == [0.1] * 5)
        scheduler.close()
        assert "'bad\\nname'" in caplog.text
        assert "is registered as 'bad_name:2'" in caplog.text
        # A restart has the same groups, under the names of its optimizer.
        again = optimizer(head=0.1)
        for name in names:
            again.add_param_group({"name": name, "params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.2})
        second = LRScheduler(again, job, server=server.url, resume_step=scheduler.next_step, strict=True, **PATIENT)
        assert train(second, 1)[0] == [0.05] + [0.1] * 5
        second.close()

    def test_the_groups_before_a_bad_rate_are_known(self, server, job, caplog):
        scheduler = self.grow(server, job, caplog, ("good", 0.2), ("bad", -1.0), ("after", 0.2))
        wait_for("the warning", lambda: train(scheduler, 1) and "does not get" in caplog.text)
        assert self.known(server, job) == [("head", 0.1), ("good", 0.2)]
        wait_for("its rate", lambda: train(scheduler, 1)[0] == [0.05, 0.1, -1.0, 0.2])
        scheduler.close()
        assert "new parameter group 'bad', nor those after it: " in caplog.text
        assert ". They keep the trainer's own rates." in caplog.text
