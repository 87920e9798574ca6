"""accelerate's own Accelerator."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch.utils.data import DataLoader, TensorDataset

from lrs.accelerate import LRScheduler


@pytest.fixture(autouse=True)
def fresh_state():
    yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def train(accelerator, scheduler, model, optimizer, batches):
    used, losses = [], []
    for x, y in batches:
        with accelerator.accumulate(model):
            loss = torch.nn.functional.mse_loss(model(x), y)
            accelerator.backward(loss)
            if scheduler.guard(loss):
                optimizer.step()
            if accelerator.sync_gradients:
                used.append(optimizer.param_groups[0]["lr"])
            scheduler.step(loss)
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
    return used, losses


def make(job, server, tmp_path, accumulation, **options):
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulation, project_dir=tmp_path)
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(64, 4)
    batches = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8)
    model, optimizer, batches = accelerator.prepare(model, optimizer, batches)
    scheduler = LRScheduler(accelerator, optimizer, job, server=server.url, deadline=20.0, **options)
    return accelerator, scheduler, model, optimizer, batches


@pytest.mark.parametrize("accumulation", [1, 4])
def test_updates_are_counted_and_batches_are_not(server, job, tmp_path, accumulation):
    steps = 8 // accumulation
    parts = make(job, server, tmp_path, accumulation, total_steps=steps, schedule={"linear": {}})
    used, losses = train(*parts)
    parts[1].close()
    assert used == pytest.approx([0.1 * (1 - step / steps) for step in range(steps)])
    record = server.record(job)
    means = [sum(losses[at : at + accumulation]) / accumulation for at in range(0, 8, accumulation)]
    assert list(record["loss"].values()) == pytest.approx(means, rel=1e-6)
    assert len(record["grad_norm"]) == steps


def test_its_checkpoints_carry_what_it_takes_to_resume(server, job, tmp_path):
    parts = make(job, server, tmp_path, 1, total_steps=16, schedule={"linear": {}})
    first, _ = train(*parts)
    parts[0].save_state(str(tmp_path / "state"))
    parts[1].close()
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    parts = make(job, server, tmp_path, 1)
    parts[0].load_state(str(tmp_path / "state"))
    second, _ = train(*parts)
    parts[1].close()
    assert first + second == pytest.approx([0.1 * (1 - step / 16) for step in range(16)])
    assert [(one.attempt, one.resume_step) for one in server.attempts(job)] == [(1, 0), (2, 8)]


def test_a_scheduler_that_is_prepared_is_said(server, job, tmp_path, caplog):
    parts = list(make(job, server, tmp_path, 1, total_steps=8))
    scheduler = parts[1]
    parts[0].prepare(scheduler)
    train(*parts)
    scheduler.close()
    assert caplog.text.count("Do not prepare it at test_accelerate.py:") == 1
