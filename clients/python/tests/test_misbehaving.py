"""The core against a service that breaks streams, forgets, stays silent, refuses and goes away."""

import time
from concurrent import futures

import grpc
import pytest

import lrs
from fake_service import PLANNED_RATE, FakeService, final_rate
from server import wait_for

QUICK = lrs.Options(backoff=lrs.Backoff(first=0.001, longest=0.01), flush_interval=0.01)


@pytest.fixture
def fake():
    made = []

    def start(*script, **more):
        made.append(FakeService(*script, **more))
        return made[-1]

    yield start
    for service in made:
        service.stop()


def connect(service, **more):
    options = {"server": service.url, "deadline": 20.0, "options": QUICK} | more
    return lrs.Scheduler("test/fake", **options)


def train(scheduler, steps):
    """Train steps in lockstep with the service, and return their rates, which must all be final."""
    rates = []
    for step in steps:
        directive = scheduler.directive
        assert (directive.step, directive.standing) == (step, lrs.Standing.FINAL)
        rates.append(directive.rates[0])
        scheduler.step(2.0, 1.0, {"accuracy": 0.5})
    return rates


def test_every_step_gets_its_final_rate_and_becomes_durable(fake):
    service = fake()
    with connect(service) as scheduler:
        rates = train(scheduler, range(200))
    assert rates == [final_rate(step) for step in range(200)]
    assert {step: values["learning_rate"] for step, values in service.record.items()} == dict(enumerate(rates))


def test_telemetry_that_a_broken_stream_lost_is_sent_again(fake):
    service = fake(("lose", 1), ("break", 5), ("lose", 1), ("break", 1))
    with connect(service) as scheduler:
        rates = train(scheduler, range(50))
    assert {step: values["learning_rate"] for step, values in service.record.items()} == dict(enumerate(rates))
    assert service.streams >= 5


def test_telemetry_whose_acknowledgement_was_lost_is_on_record_once(fake):
    service = fake(("silent", 1))
    with connect(service, deadline=0.001) as scheduler:
        for _ in range(10):
            scheduler.step(2.0)
    assert sorted(service.record) == list(range(10))


def test_without_the_last_word_training_goes_on_with_the_plan_and_warns_once(fake, caplog):
    service = fake(("mute", None))
    scheduler = connect(service, deadline=0.005)
    seen = []
    for step in range(20):
        seen.append((scheduler.directive.standing, scheduler.learning_rate))
        scheduler.step(2.0)
        assert scheduler.next_step == step + 1
    assert seen[0] == (lrs.Standing.FINAL, final_rate(0))
    assert seen[1:] == [(lrs.Standing.PLANNED, PLANNED_RATE)] * 19
    assert scheduler.fallback_steps.stretches == [(1, 20)]
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "goes on with the plan" in warnings[0].message
    scheduler.close(timeout=0.02)
    assert "20 steps" in caplog.text


def test_acknowledgements_may_wait_until_the_end_waits_for_them(fake):
    service = fake(("mute", None))
    scheduler = connect(service, deadline=0.005)
    for _ in range(3):
        scheduler.step(2.0)
    wait_for("the report", lambda: len(service.patience) > 1)
    told = len(service.patience)
    assert set(service.patience[1:]) == {0.25}
    scheduler.close(timeout=0.5)
    assert service.patience[told:][-1] == 0.0


def test_after_a_few_vain_waits_a_silent_service_costs_no_time(fake):
    service = fake(("mute", None))
    scheduler = connect(service, deadline=0.1)
    for _ in range(5):
        scheduler.step(2.0)
    before = time.perf_counter()
    for _ in range(100):
        scheduler.step(2.0)
    assert time.perf_counter() - before < 5.0, "100 deadlines are 10 s"
    scheduler.close(0)


def test_strict_raises_what_is_otherwise_only_logged(fake):
    service = fake(("mute", None))
    scheduler = connect(service, deadline=0.005, strict=True)
    with pytest.raises(lrs.UnreachableError, match="step 1 "):
        scheduler.step(2.0)
    with pytest.raises(lrs.NotDurableError, match=r"1 step of .* within 0\.01 s: .* is slow to answer"):
        scheduler.close(0.01)
    port = service.stop()
    with pytest.raises(lrs.UnreachableError, match="lrs serve"):
        lrs.Scheduler("test/fake", server=f"http://127.0.0.1:{port}", groups=0.1, start_timeout=0.05, strict=True)
    with pytest.raises(lrs.UnreachableError, match="give `groups`"):
        lrs.Scheduler("test/fake", server=f"http://127.0.0.1:{port}", start_timeout=0.05)


def test_a_service_that_went_away_is_found_again_and_gets_everything(fake):
    service = fake()
    with connect(service, deadline=0.005) as scheduler:
        scheduler.directive  # noqa: B018
        port = service.stop()
        for _ in range(20):
            scheduler.step(2.0)
        assert scheduler.unacknowledged == 20
        again = fake(port=port)
        wait_for("everything to be durable", lambda: scheduler.unacknowledged == 0)
    assert sorted(again.record) == list(range(20))
    assert {values.get("lrs_fallback") for values in again.record.values()} >= {1.0}


def test_an_outage_longer_than_memory_loses_nothing(fake, tmp_path):
    service = fake()
    bounded = lrs.Options(
        backoff=QUICK.backoff, flush_interval=0.01, max_unacknowledged=2000, spill_directory=str(tmp_path)
    )
    with connect(service, deadline=0.001, options=bounded) as scheduler:
        scheduler.directive  # noqa: B018
        port = service.stop()
        for step in range(30_000):
            scheduler.step(float(step))
        wait_for("the spill", lambda: scheduler._mailbox.in_memory <= 2000)
        assert scheduler.unacknowledged == 30_000
        again = fake(port=port)
        wait_for("everything to be durable", lambda: scheduler.unacknowledged == 0)
    assert [again.record[step]["loss"] for step in range(30_000)] == [float(step) for step in range(30_000)]


def test_a_refused_stream_ends_the_attempt_without_stopping_the_training(fake, caplog):
    service = fake(("refuse", None))
    scheduler = connect(service)
    wait_for("the refusal", lambda: scheduler.directive and scheduler.refusal)
    # Far less than the deadline of 20 s: there is nothing to wait for.
    before = time.monotonic()
    assert scheduler.step(2.0).standing is lrs.Standing.PLANNED
    assert time.monotonic() - before < 10
    assert caplog.text.count("the job has ended") == 1
    scheduler.close()


def test_a_server_of_another_major_version_is_named_as_such(fake):
    service = FakeService(only_jobs=True)
    try:
        scheduler = connect(service, strict=True)
        with pytest.raises(lrs.VersionMismatchError, match="another major version of lrs") as refused:
            scheduler.directive  # noqa: B018
        assert refused.value.code == "UNIMPLEMENTED"
    finally:
        service.stop()


def test_a_server_that_knows_nothing_of_lrs_is_named_as_such():
    stranger = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    port = stranger.add_insecure_port("127.0.0.1:0")
    stranger.start()
    try:
        with pytest.raises(lrs.VersionMismatchError, match="check the address"):
            lrs.Scheduler("test/fake", server=f"http://127.0.0.1:{port}", start_timeout=20.0)
    finally:
        stranger.stop(0)


def test_an_answer_for_a_step_that_was_passed_does_not_go_back(fake):
    service = fake(lag=1)
    with connect(service, deadline=0.01) as scheduler:
        wait_for("its first word", lambda: scheduler.step(2.0).standing is lrs.Standing.FINAL)
        service.held.clear()
        for _ in range(5):
            scheduler.step(2.0)
        service.held.set()
        wait_for("its last word", lambda: scheduler.step(2.0).standing is lrs.Standing.FINAL)
        directive = scheduler.directive
        assert directive.rates == (final_rate(directive.step),)


def test_a_fault_of_the_client_itself_is_said_once_and_training_goes_on(fake, caplog, monkeypatch):
    service = fake()
    with connect(service) as scheduler:
        train(scheduler, range(2))

        def fault(*_):
            raise TypeError("a fault")

        monkeypatch.setattr(scheduler._mailbox.book, "take_final", fault)
        for _ in range(5):
            assert scheduler.step(2.0).standing is not lrs.Standing.FINAL
        assert scheduler.refusal is not None
    assert len(caplog.records) == 1
    assert "TypeError('a fault')" in caplog.text


class TestActions:
    def test_bounds_actions_and_advice_come_with_their_step(self, fake):
        service = fake(tier=2)
        service.extras = {
            1: {"clip_norm": 2.5, "actions": [("snapshot", "a")]},
            2: {"actions": [("restore", "a"), ("forget", "a")], "stop_advice": "flat for long", "skip_above_norm": 9.0},
        }
        with connect(service, tier=2) as scheduler:
            assert scheduler.take_actions() == []
            scheduler.step(2.0)
            assert (scheduler.clip_norm, scheduler.stop_advice) == (2.5, "")
            assert scheduler.take_actions() == [("snapshot", "a")]
            assert scheduler.take_actions() == [], "each is told once"
            scheduler.step(2.0)
            assert (scheduler.clip_norm, scheduler.skip_above_norm) == (None, 9.0)
            assert scheduler.stop_advice == "flat for long"
            assert scheduler.take_actions() == [("restore", "a"), ("forget", "a")]

    def test_what_was_to_be_done_at_a_step_on_the_plan_comes_late_and_once(self, fake):
        service = fake(tier=2)
        service.extras = {2: {"actions": [("snapshot", "a")]}, 3: {"actions": [("restore", "a")]}}
        with connect(service, tier=2, deadline=0.01) as scheduler:
            scheduler.step(2.0)
            service.held.clear()
            done = []
            for _ in range(5):
                scheduler.step(2.0)
                done += scheduler.take_actions()
            assert done == []
            service.held.set()

            def all_done():
                scheduler.step(2.0)
                done.extend(scheduler.take_actions())
                return scheduler.directive.standing is lrs.Standing.FINAL and done

            wait_for("the late directives", all_done)
            for _ in range(5):
                scheduler.step(2.0)
                done += scheduler.take_actions()
        assert done == [("snapshot", "a"), ("restore", "a")]

    def test_what_is_told_while_its_step_is_trained_on_the_plan_is_done_before_the_next(self, fake):
        service = fake(tier=2)
        service.extras = {2: {"actions": [("restore", "a")]}}
        with connect(service, tier=2, deadline=0.01) as scheduler:
            scheduler.step(2.0)
            service.held.clear()
            assert scheduler.step(2.0).standing is not lrs.Standing.FINAL
            assert scheduler.take_actions() == []
            service.held.set()
            wait_for("the directive", lambda: scheduler._mailbox.known_through >= 2)
            scheduler.step(2.0)
            assert scheduler.take_actions() == [("restore", "a")]
            scheduler.step(2.0)
            assert scheduler.take_actions() == []

    def test_a_job_of_a_higher_tier_than_the_trainer_is_told(self, fake, caplog):
        service = fake(tier=2)
        connect(service).close()
        assert "tier 2 also keeps and restores" in caplog.text


class SlowReading:
    """A number that is computed once the test says so."""

    def __init__(self, number):
        self.number = number
        self.there = False

    def ready(self):
        return self.there

    def value(self):
        assert self.there
        return self.number


def test_a_number_that_is_still_computed_holds_up_neither_step_nor_order(fake):
    service = fake(lag=8)
    with connect(service) as scheduler:
        losses = [SlowReading(float(step)) for step in range(6)]
        for loss in losses:
            assert scheduler.step(loss).standing is lrs.Standing.FINAL
        assert service.record == {}
        for loss in losses[1:]:
            loss.there = True
        scheduler._mailbox.wake()
        assert scheduler.unacknowledged == 6, "the first is not there, so nothing may be reported"
        losses[0].there = True
        scheduler._mailbox.wake()
        wait_for("the report", lambda: scheduler.unacknowledged == 0)
    assert [service.record[step]["loss"] for step in range(6)] == [0, 1, 2, 3, 4, 5]


def test_what_is_still_computed_comes_with_the_next_message_where_directives_reach_far_enough(fake):
    service = fake(lag=8)
    with connect(service) as scheduler:
        losses = [SlowReading(float(step)) for step in range(9)]
        for loss in losses[:6]:
            scheduler.step(loss)
        for loss in losses[:4]:
            loss.there = True
        scheduler._mailbox.wake()
        wait_for("the report", lambda: len(service.record) == 4)
        for loss in losses[4:6]:
            loss.there = True
        # Directives reach to step 11, so the sender waits until there is more to send.
        assert not scheduler._mailbox.is_urgent
        for loss in losses[6:]:
            assert scheduler.step(loss).standing is lrs.Standing.FINAL
            loss.there = True
        wait_for("the report", lambda: scheduler.unacknowledged == 0)
    assert [service.record[step]["loss"] for step in range(9)] == list(range(9))


def test_a_device_further_behind_than_the_lag_is_named_as_the_reason(fake, caplog):
    service = fake(lag=2)
    with connect(service, deadline=0.02) as scheduler:
        losses = [SlowReading(1.0) for _ in range(4)]
        for loss in losses:
            scheduler.step(loss)
        assert "larger decision_lag" in caplog.text
        for loss in losses:
            loss.there = True


def test_a_number_that_cannot_be_read_is_left_out(fake, caplog):
    class Broken(SlowReading):
        def ready(self):
            return True

        def value(self):
            raise RuntimeError("the device is gone")

    service = fake()
    with connect(service) as scheduler:
        scheduler.step(Broken(0.0))
        scheduler.step(1.0)
    assert "loss" not in service.record[0]
    assert service.record[1]["loss"] == 1.0
    assert "the device is gone" in caplog.text
