"""PyTorch, with the real library and the real server."""

import copy
import math

import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler as TorchsOwn

import lrs
import lrs.torch
from fake_service import FakeService, final_rate
from lrs.guard import clip_gradients
from lrs.rates import Action

QUICK = lrs.Options(flush_interval=0.01)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(32, 4, generator=generator)
    return x, x.sum(dim=1, keepdim=True)


def backward(model, optimizer, batch):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(batch[0]), batch[1])
    loss.backward()
    return loss


def make(server, optimizer, job, **more):
    options = {"server": server.url, "deadline": 20.0, "options": QUICK, "total_steps": 100} | more
    return lrs.torch.LRScheduler(optimizer, job, **options)


def test_the_rates_of_torch_s_own_scheduler_are_followed(server, job, model, batch):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    twin = torch.optim.SGD([torch.zeros(1)], lr=0.02)
    theirs = torch.optim.lr_scheduler.StepLR(twin, step_size=7, gamma=0.5)
    schedule = {"library": "torch", "scheduler": "StepLR", "params": {"step_size": 7, "gamma": 0.5}}
    with make(server, optimizer, job, schedule=schedule) as scheduler:
        for _ in range(60):
            loss = backward(model, optimizer, batch)
            optimizer.step()
            assert optimizer.param_groups[0]["lr"] == pytest.approx(twin.param_groups[0]["lr"], rel=1e-12)
            scheduler.step(loss)
            twin.step()
            theirs.step()
    record = server.record(job)
    assert len(record["loss"]) == 60
    assert record["loss"][59] < record["loss"][0]


def test_it_is_a_scheduler_to_whoever_checks(server, job, model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.4)
    with make(server, optimizer, job) as scheduler:
        assert isinstance(scheduler, TorchsOwn)
        assert scheduler.get_last_lr() == scheduler.get_lr() == [0.4]
        assert (scheduler.base_lrs, scheduler.last_epoch) == ([0.4], 0)
        scheduler.step()
        assert scheduler.last_epoch == 1


def test_groups_go_by_their_names(server, job, model, batch):
    optimizer = torch.optim.AdamW(
        [
            {"name": "body", "params": model[0].parameters(), "lr": 0.1},
            {"name": "head", "params": model[2].parameters(), "lr": 0.2},
        ]
    )
    with make(server, optimizer, job, schedule={"linear": {}}) as scheduler:
        for _ in range(50):
            scheduler.step(backward(model, optimizer, batch))
        assert scheduler.core.groups == ["body", "head"]
        body, head = (group["lr"] for group in optimizer.param_groups)
        assert body == pytest.approx(0.05)
        assert head == 2 * body


def test_a_rate_that_is_a_tensor_is_changed_in_place(server, job, model, batch):
    rate = torch.tensor(0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    with make(server, optimizer, job, schedule={"linear": {}}) as scheduler:
        scheduler.step(backward(model, optimizer, batch))
        assert optimizer.param_groups[0]["lr"] is rate
        assert float(rate) == pytest.approx(0.495)


def test_scheduled_momentum_reaches_the_optimizer(server, job, model, batch):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, betas=(0.9, 0.99))
    groups = [{"name": "default", "base_lr": 0.1, "base_momentum": 0.8, "base_weight_decay": 0.01}]
    spec = {"groups": groups, "momentum_schedule": {"base": 1}, "weight_decay_schedule": {"linear": {}}}
    with make(server, optimizer, job, spec=spec) as scheduler:
        scheduler.begin()
        assert optimizer.param_groups[0]["betas"] == (0.8, 0.99)
        scheduler.step(backward(model, optimizer, batch))
        assert 0 < optimizer.param_groups[0]["weight_decay"] < 0.01


def test_a_rate_that_someone_else_set_is_reported_as_it_was_used(server, job, model, batch):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.4)
    with make(server, optimizer, job) as scheduler:
        scheduler.step(backward(model, optimizer, batch))
        optimizer.param_groups[0]["lr"] = 0.123
        scheduler.step(backward(model, optimizer, batch))
    assert server.record(job)["learning_rate"] == {0: 0.4, 1: 0.123}


class TestCheckpoints:
    def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been(self, server, job, model, batch):
        plateau = [{"reduce_lr_on_plateau": {"patience": 2, "factor": 0.7}}]
        schedule = {"cosine": {}}

        def fresh():
            again = copy.deepcopy(model)
            return again, torch.optim.SGD(again.parameters(), lr=0.05, momentum=0.9)

        def train(net, optimizer, scheduler, steps):
            rates = []
            for _ in range(steps):
                loss = backward(net, optimizer, batch)
                optimizer.step()
                rates.append(optimizer.param_groups[0]["lr"])
                scheduler.step(loss)
            return rates

        net, optimizer = fresh()
        with make(server, optimizer, job + "-whole", schedule=schedule, controllers=plateau) as scheduler:
            whole = train(net, optimizer, scheduler, 60)
        net, optimizer = fresh()
        with make(server, optimizer, job, schedule=schedule, controllers=plateau) as scheduler:
            first = train(net, optimizer, scheduler, 30)
            saved = copy.deepcopy([part.state_dict() for part in (net, optimizer, scheduler)])
            train(net, optimizer, scheduler, 7)
        net, optimizer = fresh()
        with make(server, optimizer, job) as scheduler:
            for part, state in zip((net, optimizer, scheduler), saved, strict=True):
                part.load_state_dict(state)
            assert scheduler.last_epoch == 30
            second = train(net, optimizer, scheduler, 30)
        assert first + second == whole
        assert len(server.record(job)["loss"]) == 60

    def test_a_state_survives_torch_save(self, server, job, model, tmp_path):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.4)
        with make(server, optimizer, job) as scheduler:
            scheduler.step(1.0)
            torch.save(scheduler.state_dict(), tmp_path / "state.pt")
            state = torch.load(tmp_path / "state.pt", weights_only=True)
        assert state["step"] == 1


class TestGuard:
    def norm(self, model):
        return torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])

    def test_the_gradient_is_clipped_to_the_bound_as_torch_clips(self, model, batch):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        backward(model, optimizer, batch)
        twin = copy.deepcopy(model)
        for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            theirs.grad = ours.grad.clone()
        before = clip_gradients(model.parameters(), 0.25)
        assert before == torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.25)
        for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad)
        assert self.norm(model) == pytest.approx(0.25, rel=1e-4)
        assert clip_gradients(model.parameters(), 100.0) == pytest.approx(0.25, rel=1e-4)
        assert self.norm(model) == pytest.approx(0.25, rel=1e-4), "a norm below the bound is left alone"

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_an_update_that_is_not_finite_is_left_out_and_reported(self, model, batch, bad):
        service = FakeService()
        try:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
            with lrs.torch.LRScheduler(optimizer, "a/b", server=service.url, deadline=20.0, total_steps=9) as scheduler:
                before = copy.deepcopy(model.state_dict())
                loss = backward(model, optimizer, batch)
                assert not scheduler.guard(loss * bad)
                model[0].weight.grad[0, 0] = bad
                assert not scheduler.guard(loss)
                scheduler.step(loss)
                assert scheduler.guard(backward(model, optimizer, batch))
            torch.testing.assert_close(model.state_dict(), before)
            reported = service.record[0]["grad_norm"]
            assert math.isnan(reported) if math.isnan(bad) else math.isinf(reported)
        finally:
            service.stop()

    def test_bound_and_skip_are_those_of_the_step(self, model, batch):
        service = FakeService(tier=1)
        service.extras = {1: {"clip_norm": 0.125}, 2: {"skip_above_norm": 1e-9}}
        try:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            with lrs.torch.LRScheduler(optimizer, "a/b", server=service.url, deadline=20.0, tier=1) as scheduler:
                norms, allowed = [], []
                for _ in range(3):
                    loss = backward(model, optimizer, batch)
                    allowed.append(scheduler.guard(loss))
                    norms.append(float(self.norm(model)))
                    scheduler.step(loss)
            assert norms[1] == pytest.approx(0.125, rel=1e-4)
            assert norms[0] > 0.125
            assert allowed == [True, True, False]
            assert service.record[1]["grad_norm"] > 0.125, "the norm before clipping is reported"
        finally:
            service.stop()

    def test_in_a_trainer_that_always_updates_nothing_is_updated(self, server, job, model, batch):
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        with make(server, optimizer, job) as scheduler:
            loss = backward(model, optimizer, batch)
            before = copy.deepcopy(model.state_dict())
            scheduler.guard_in_trainer(loss * math.nan)
            optimizer.step()
            torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


class TestSnapshots:
    def train(self, model, optimizer, batch, steps):
        losses = []
        for _ in range(steps):
            loss = backward(model, optimizer, batch)
            optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    @pytest.mark.parametrize("kind", ["sgd", "adam", "adam-amsgrad", "rmsprop", "adagrad"])
    def test_training_from_a_restored_copy_repeats_itself_to_the_bit(self, model, batch, kind):
        makers = {
            "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
            "adam": lambda p: torch.optim.Adam(p, lr=0.01),
            "adam-amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
            "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True),
            "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
        }
        optimizer = makers[kind](model.parameters())
        snapshots = lrs.torch.Snapshots(model, optimizer)
        snapshots.keep("start")
        first = self.train(model, optimizer, batch, 5)
        snapshots.keep("middle")
        second = self.train(model, optimizer, batch, 5)
        pointers = [p.data_ptr() for p in model.parameters()]
        assert snapshots.restore("middle")
        assert self.train(model, optimizer, batch, 5) == second
        assert snapshots.restore("start")
        assert self.train(model, optimizer, batch, 5) == first
        assert pointers == [p.data_ptr() for p in model.parameters()], "restored in place"

    def test_buffers_are_part_of_it_and_other_things_with_a_state_too(self, batch):
        model = torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.BatchNorm1d(1))
        average = torch.optim.swa_utils.AveragedModel(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
        snapshots = lrs.torch.Snapshots(model, optimizer, average, scaler)
        snapshots.keep("a")
        before = copy.deepcopy((model.state_dict(), average.state_dict()))
        self.train(model, optimizer, batch, 3)
        average.update_parameters(model)
        scaler.load_state_dict(scaler.state_dict() | {"scale": 2.0})
        assert model[1].num_batches_tracked == 3
        snapshots.restore("a")
        torch.testing.assert_close((model.state_dict(), average.state_dict()), before, rtol=0, atol=0)
        assert scaler.get_scale() == 64.0

    def test_a_copy_that_is_not_kept_is_passed_over(self, model):
        snapshots = lrs.torch.Snapshots(model)
        before = copy.deepcopy(model.state_dict())
        snapshots.apply(
            [Action("restore", "never"), Action("snapshot", "a"), Action("forget", "a"), Action("forget", "b")]
        )
        assert "a" not in snapshots
        assert len(snapshots) == 0
        torch.testing.assert_close(model.state_dict(), before)

    def test_the_scheduler_does_what_it_is_told(self, model, batch):
        service = FakeService(tier=2)
        service.extras = {2: {"actions": [("snapshot", "a")]}, 5: {"actions": [("restore", "a")]}}
        try:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            with lrs.torch.LRScheduler(
                optimizer, "a/b", server=service.url, deadline=20.0, model=model, total_steps=9
            ) as scheduler:
                states = []
                for step in range(8):
                    states.append(copy.deepcopy(model.state_dict()))
                    assert scheduler.last_epoch == step
                    loss = backward(model, optimizer, batch)
                    optimizer.step()
                    scheduler.step(loss)
                    assert optimizer.param_groups[0]["lr"] == final_rate(step + 1)
            torch.testing.assert_close(states[5], states[2], rtol=0, atol=0)
            assert not torch.equal(states[6]["0.weight"], states[3]["0.weight"]), "the rate is the step's own"
        finally:
            service.stop()


def test_wrong_use_is_said(server, job, model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.4)
    with pytest.raises(lrs.UsageError, match=r"must be a torch\.optim\.Optimizer"):
        lrs.torch.LRScheduler(model, job)
    with pytest.raises(lrs.UsageError, match="give `model`"):
        lrs.torch.LRScheduler(optimizer, job, tier=2)
    with make(server, optimizer, job) as scheduler:
        with pytest.raises(lrs.MetricError, match="shape"):
            scheduler.step(torch.zeros(3))
        with pytest.raises(lrs.MetricError, match="loss must be one number"):
            scheduler.step("low")
