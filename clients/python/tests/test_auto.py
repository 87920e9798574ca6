"""`controller: auto` against the real server: search, copies, bounds."""

import torch

import lrs
import lrs.torch


def test_auto_searches_goes_back_and_trains_better_than_a_rate_that_is_far_too_low(server, job):
    def train(scheduler_of):
        torch.manual_seed(0)
        x = torch.randn(256, 8)
        y = x.sum(1, keepdim=True) / 3
        model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
        scheduler = scheduler_of(model, optimizer)
        bounds, advice, done = 0, "", []
        if scheduler is not None:
            kept = scheduler.snapshots.apply
            scheduler.snapshots.apply = lambda actions: (done.extend(actions), kept(actions))
        for step in range(400):
            optimizer.zero_grad()
            batch = slice(32 * (step % 7), 32 * (step % 7) + 32)
            loss = torch.nn.functional.mse_loss(model(x[batch]), y[batch])
            loss.backward()
            if scheduler is None:
                optimizer.step()
                continue
            bounds += scheduler.core.clip_norm is not None
            if scheduler.guard(loss):
                optimizer.step()
            scheduler.step(loss)
            advice = advice or scheduler.stop_advice
            if step % 40 == 39:
                with torch.no_grad():
                    scheduler.log(val_loss=torch.nn.functional.mse_loss(model(x[224:]), y[224:]))
        if scheduler is not None:
            scheduler.close()
        return float(loss.detach()), bounds, done, scheduler

    plain, *_ = train(lambda model, optimizer: None)
    scheduled, bounds, done, scheduler = train(
        lambda model, optimizer: lrs.torch.LRScheduler(
            optimizer, job, server=server.url, model=model, controller="auto", total_steps=400, deadline=20.0
        )
    )
    assert scheduled < 0.5 * plain
    assert bounds > 100
    kinds = [action.kind for action in done]
    assert kinds.count("snapshot") >= 3
    assert "restore" in kinds
    assert scheduler.core.fallback_steps.count == 0
    assert server.job(job).spec.tier == 2
    assert server.run("replay", job).returncode == 0


def test_auto_without_copies_is_told_bounds_to_skip_above(server, job):
    with lrs.Scheduler(
        job, server=server.url, groups=0.1, controller="auto", total_steps=100, deadline=20.0
    ) as scheduler:
        for _ in range(50):
            scheduler.step(0.5, grad_norm=1.0)
        assert scheduler.clip_norm is None
        assert scheduler.skip_above_norm is not None
        assert scheduler.take_actions() == []
