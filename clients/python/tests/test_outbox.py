"""Telemetry that waits for the service to store it, in memory and in a file."""

import random

import pytest

from lrs.outbox import FALLBACK_METRIC, KEPT_SAMPLES, Outbox, Sample
from lrs.rates import Standing
from lrs.spill import Spill


def sample(step, *, grad_norm=None, metrics=None, standing=Standing.FINAL):
    return Sample(step, 0.5, grad_norm, 0.1, metrics, standing)


@pytest.fixture
def make(tmp_path):
    made = []

    def outbox(limit=100_000, max_bytes=1 << 30, steps=()):
        box = Outbox(limit, Spill(str(tmp_path), max_bytes))
        box.begin_stream()
        for step in steps:
            box.push(sample(step))
        made.append(box)
        return box

    yield outbox
    for box in made:
        box.close()


def sent(box):
    steps = []
    while (message := box.next_message()) is not None:
        steps.extend(message.step)
    return steps


def test_a_sample_is_kept_until_it_is_acknowledged(make):
    box = make(steps=range(3))
    assert sent(box) == [0, 1, 2]
    box.acknowledge(1)
    assert len(box) == 1
    box.acknowledge(2)
    assert len(box) == 0


def test_a_new_stream_carries_all_that_was_not_acknowledged(make):
    box = make(steps=range(4))
    sent(box)
    box.push(sample(4))
    box.acknowledge(1)
    box.begin_stream()
    assert sent(box) == [2, 3, 4]


def test_acknowledged_samples_that_the_service_has_lost_are_sent_again_first(make):
    box = make(steps=range(10))
    sent(box)
    box.acknowledge(7)
    box.begin_stream()
    assert box.has_acknowledged
    assert not box.resume(4)
    assert len(box) == 5
    assert sent(box) == [5, 6, 7, 8, 9]
    box.acknowledge(6)
    box.begin_stream()
    assert not box.resume(6)
    assert sent(box) == [7, 8, 9]
    box.acknowledge(9)
    assert len(box) == 0
    box.begin_stream()
    assert not box.resume(9)
    assert sent(box) == []


def test_steps_that_nobody_holds_any_more_are_named(make):
    box = make(steps=range(3000))
    sent(box)
    box.acknowledge(2999)
    box.begin_stream()
    assert box.resume(1000) == range(1001, 3000 - KEPT_SAMPLES)
    assert sent(box) == list(range(3000 - KEPT_SAMPLES, 3000))


def test_what_was_stored_unknown_to_the_trainer_is_not_sent_again(make):
    box = make(steps=range(5))
    sent(box)
    box.acknowledge(1)
    box.begin_stream()
    assert not box.resume(3)
    assert sent(box) == [4]


def test_columns_have_a_value_for_every_step_or_none(make):
    box = make()
    for step, norm in enumerate([1.0, 2.0, None, None]):
        box.push(sample(step, grad_norm=norm))
    first, second = box.next_message(), box.next_message()
    assert (list(first.step), list(first.grad_norm), first.through_step) == ([0, 1], [1.0, 2.0], 1)
    assert (list(second.step), list(second.grad_norm), second.through_step) == ([2, 3], [], 3)


def test_metrics_are_series_of_the_steps_that_have_one(make):
    box = make(steps=[0])
    box.push(sample(1, metrics=[("val_loss", 0.25)]))
    box.push(sample(2, standing=Standing.HELD))
    series = {one.name: (list(one.step), list(one.value)) for one in box.next_message().metrics}
    assert series == {"val_loss": ([1], [0.25]), FALLBACK_METRIC: ([2], [2.0])}


def test_past_the_bound_the_oldest_go_to_a_file_and_come_back_in_order(make):
    box = make(limit=5000, steps=range(20_000))
    assert box.in_memory <= 5000
    assert len(box) == 20_000
    assert sent(box) == list(range(20_000))
    box.begin_stream()
    assert sent(box) == list(range(20_000))
    box.acknowledge(12_345)
    box.begin_stream()
    again = sent(box)
    assert again[-1] == 19_999
    assert again == list(range(again[0], 20_000))
    assert again[0] <= 12_346
    box.acknowledge(19_999)
    assert len(box) == 0


def test_what_is_sent_and_spilled_while_the_stream_lives_is_sent_once_on_it(make):
    box = make(limit=2000, steps=range(1500))
    first = sent(box)
    for step in range(1500, 6000):
        box.push(sample(step))
    assert first + sent(box) == list(range(6000))


def test_nothing_is_lost_or_repeated_whatever_comes_in_which_order(make):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    luck = random.Random(seed)
    box, step, durable, on_stream = make(limit=1500), 0, -1, []
    for _ in range(300):
        what = luck.choice(["push", "push", "send", "acknowledge", "break"])
        if what == "push":
            for _ in range(luck.randrange(400)):
                box.push(sample(step))
                step += 1
        elif what == "send":
            message = box.next_message()
            on_stream.extend(message.step if message is not None else [])
        elif what == "acknowledge" and on_stream:
            durable = max(durable, luck.choice(on_stream))
            box.acknowledge(durable)
        elif what == "break":
            box.begin_stream()
            on_stream = []
        assert on_stream == sorted(set(on_stream))
        assert box.in_memory <= 1501
    box.begin_stream()
    rest = sent(box)
    assert rest == list(range(rest[0], step) if rest else [])
    assert not rest or rest[0] <= durable + 1


def test_what_the_file_may_not_take_is_counted_as_lost(make, caplog):
    box = make(limit=1000, max_bytes=20_000, steps=range(10_000))
    assert box.lost > 0
    assert len(box) + box.lost == 10_000
    assert caplog.text.count("spill file") == 1


def test_a_spilled_file_has_no_name_and_gives_its_space_back(make, tmp_path):
    box = make(limit=1000, steps=range(5000))
    assert list(tmp_path.iterdir()) == []
    sent(box)
    box.acknowledge(4999)
    box.push(sample(5000))
    assert sent(box) == [5000]
