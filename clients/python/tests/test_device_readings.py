"""Numbers on a GPU, without a GPU: tensors on the CPU that fail when the training thread waits for them."""

import threading

import pytest
import torch

import lrs.torch
import lrs.torch_readings
from fake_service import FakeService
from server import wait_for


class FakeEvent:
    """An event that has happened once the test says so."""

    everything_has_happened = False

    def record(self):
        assert threading.current_thread() is threading.main_thread()

    def query(self):
        return FakeEvent.everything_has_happened

    def synchronize(self):
        raise AssertionError("nobody waits for the device")


#: What makes the host wait for a device.
WAITS = {"item", "tolist", "cpu", "numpy", "nonzero", "equal", "allclose", "is_nonzero", "__array__"}
WAITS |= {f"__{kind}__" for kind in ("float", "int", "bool", "index", "complex", "contains", "repr", "format")}


class CudaLike(torch.Tensor):
    """A tensor that claims to be on a GPU. Tensors computed from it do so too. The training thread cannot read it."""

    @property
    def is_cuda(self):
        return True

    @property
    def device(self):
        return torch.device("cuda", 0)

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        name, kwargs = getattr(function, "__name__", ""), dict(kwargs or {})
        if threading.current_thread() is threading.main_thread():
            if name in WAITS:
                raise AssertionError(f"{name} waits for the device")
            if name == "copy_" and not isinstance(args[0], cls):
                assert kwargs.get("non_blocking"), "a copy to the host that is not asynchronous waits for the device"
        if name == "to":
            # The only device is the host.
            args = tuple(arg for arg in args if not isinstance(arg, (torch.device, str)))
            kwargs.pop("device", None)
            if len(args) == 1 and "dtype" not in kwargs:
                return args[0]
        return super().__torch_function__(function, types, args, kwargs)


@pytest.fixture
def device(monkeypatch):
    """Stand-ins on the CPU for the parts of CUDA that the readings use."""
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
    loss = on_device(1.0)
    for read in (float, bool, int, str, torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.cpu):
        for tensor in (loss, (2 * loss.detach()).sum()):
            with pytest.raises(AssertionError, match="waits"):
                read(tensor)
    with pytest.raises(AssertionError, match="not asynchronous"):
        torch.empty(()).copy_(loss)
    with pytest.raises(AssertionError, match="waits"):
        torch.equal(loss, loss)


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


class TestGuard:
    """`guard` decides on the device: the host reads neither the loss nor the norm."""

    @pytest.fixture
    def trained(self, device, service):
        model = torch.nn.Linear(2, 1, bias=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with lrs.torch.LRScheduler(
            optimizer,
            "a/b",
            server=service.url,
            deadline=20.0,
            tier=1,
            decision_lag=8,
            options=lrs.Options(flush_interval=0.005),
        ) as scheduler:
            scheduler.begin()
            yield model, optimizer, scheduler
            device.everything_has_happened = True

    def gradient(self, model, *numbers):
        model.weight.grad = torch.tensor([numbers]).as_subclass(CudaLike)
        return model.weight.grad

    def seen(self, tensor):
        return tensor.as_subclass(torch.Tensor).tolist()

    def test_the_gradient_is_clipped_and_its_norm_reported(self, trained, service, device):
        model, _, scheduler = trained
        scheduler._directive = scheduler._directive._replace(clip_norm=1.0)
        gradient = self.gradient(model, 3.0, 4.0)
        assert scheduler.guard(on_device(0.5))
        assert self.seen(gradient)[0] == pytest.approx([0.6, 0.8], rel=1e-4)
        scheduler.step(on_device(0.5))
        device.everything_has_happened = True
        wait_for("the report", lambda: scheduler.core.unacknowledged == 0)
        assert service.record[0]["grad_norm"] == 5.0

    @pytest.mark.parametrize("loss", [0.5, float("nan")])
    @pytest.mark.parametrize("gradient", [1.0, float("inf")])
    def test_an_update_that_is_not_finite_finds_a_gradient_of_zeros(self, trained, loss, gradient):
        model, optimizer, scheduler = trained
        before = model.weight.detach().clone()
        left = self.gradient(model, gradient, 1.0)
        assert scheduler.guard(on_device(loss)), "the host does not know"
        sound = loss == 0.5 and gradient == 1.0
        assert self.seen(left) == ([[1.0, 1.0]] if sound else [[0.0, 0.0]])
        model.weight.grad = left.as_subclass(torch.Tensor)
        optimizer.step()
        assert torch.equal(model.weight, before) is not sound

    def test_an_update_above_the_bound_finds_a_gradient_of_zeros(self, trained):
        model, _, scheduler = trained
        scheduler._directive = scheduler._directive._replace(skip_above_norm=4.0)
        left = self.gradient(model, 3.0, 4.0)
        assert scheduler.guard(on_device(0.5))
        assert self.seen(left) == [[0.0, 0.0]]
