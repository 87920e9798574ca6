"""Numbers on a device that is not there: stand-ins on the CPU that object to being waited for."""

import threading

import pytest
import torch

import lrs.torch
import lrs.torch_readings
from fake_service import FakeService
from server import wait_for


class FakeEvent:
    """Says it has happened once it is let."""

    everything_has_happened = False

    def record(self):
        assert threading.current_thread() is threading.main_thread()

    def query(self):
        return FakeEvent.everything_has_happened

    def synchronize(self):
        raise AssertionError("nobody waits for the device")


class CudaLike(torch.Tensor):
    """A tensor that says it is on a GPU, and can not be read."""

    @property
    def is_cuda(self):
        return True

    def item(self):
        raise AssertionError("item() waits for the device")

    __float__ = __bool__ = __int__ = tolist = item

    def detach(self):
        return super().detach().as_subclass(torch.Tensor)


@pytest.fixture
def device(monkeypatch):
    """Everything of CUDA that the readings touch, on the CPU."""
    FakeEvent.everything_has_happened = False
    empty = torch.empty
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "device", lambda which: threading.Lock())
    monkeypatch.setattr(torch, "empty", lambda *a, pin_memory=False, **k: empty(*a, **k))
    monkeypatch.setattr(lrs.torch_readings, "_slots", [])
    return FakeEvent


@pytest.fixture
def service():
    made = FakeService(lag=8)
    yield made
    made.stop()


def on_device(number):
    return torch.tensor(number).as_subclass(CudaLike)


def test_the_stand_in_objects_to_being_waited_for(device):
    with pytest.raises(AssertionError, match="waits"):
        float(on_device(1.0))


def test_a_loss_on_a_gpu_is_reported_some_steps_later_and_never_waited_for(device, service):
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = lrs.torch.LRScheduler(
        optimizer, "a/b", server=service.url, deadline=20.0, decision_lag=8, options=lrs.Options(flush_interval=0.005)
    )
    for step in range(7):
        scheduler.step(on_device(float(step)), on_device(2.0 * step))
        assert scheduler.core.directive.standing is lrs.Standing.FINAL, "the lag covers it"
    assert service.record == {}
    device.everything_has_happened = True
    wait_for("the report", lambda: scheduler.core.unacknowledged == 0)
    assert {step: (v["loss"], v["grad_norm"]) for step, v in service.record.items()} == {
        step: (float(step), 2.0 * step) for step in range(7)
    }
    scheduler.close()


def test_memory_for_copies_is_used_again(device):
    device.everything_has_happened = True
    for step in range(1000):
        reading = lrs.torch_readings.CudaReading(on_device(float(step)))
        assert reading.ready()
        assert reading.value() == step
    assert len(lrs.torch_readings._slots) == 1


def test_half_precision_losses_are_read_too(device):
    device.everything_has_happened = True
    assert lrs.torch_readings.CudaReading(on_device(0.5).to(torch.bfloat16)).value() == 0.5
