"""The directive of a step, from the service's answers."""

from lrs.rates import AHEAD, Directive, RateBook, Standing
from lrs.v1.job_pb2 import GroupRate
from lrs.v1.learning_rate_service_pb2 import Directive as WireDirective
from lrs.v1.learning_rate_service_pb2 import GetLearningRateResponse, GroupPlan, RatePlan


def directive(step, rate, **more):
    return WireDirective(step=step, rates=[GroupRate(group="default", learning_rate=rate)], is_final=True, **more)


def answer(step, planned, final_steps=0, is_final=True):
    head = directive(step, planned[0])
    head.is_final = is_final
    plan = RatePlan(first_step=step + 1, final_steps=final_steps)
    plan.groups.append(GroupPlan(group="default", learning_rate=planned[1:]))
    return GetLearningRateResponse(attempt=1, directive=head, plan=plan)


def book(planned, **more):
    made = RateBook()
    made.take_answer(answer(0, planned, **more), 0)
    return made


LAST = Directive(0, (0.1,))


def test_the_final_part_of_a_plan_is_final():
    made = book([0.1, 0.2, 0.3], final_steps=1)
    assert sorted(made.finals) == [0, 1]
    assert made.finals[1] == Directive(1, (0.2,))


def test_a_plan_has_no_last_word_where_a_step_is_more_than_its_rates():
    made = RateBook(trusts_plan=False)
    made.take_answer(answer(0, [0.1, 0.2, 0.3], final_steps=2), 0)
    assert sorted(made.finals) == [0]


def test_without_a_final_directive_the_plan_is_followed_and_after_it_the_last_rate_is_held():
    made = book([0.1, 0.2])
    planned = made.fall_back(1, LAST)
    assert (planned.rates, planned.standing) == ((0.2,), Standing.PLANNED)
    held = made.fall_back(2, planned)
    assert (held.step, held.rates, held.standing) == (2, (0.2,), Standing.HELD)


def test_a_first_step_that_is_not_final_is_planned():
    made = book([0.3, 0.2], is_final=False)
    assert made.finals == {}
    assert made.fall_back(0, LAST).rates == (0.3,)


def test_a_plan_that_a_final_directive_contradicts_is_no_longer_followed():
    made = book([0.4, 0.4, 0.4])
    made.take_final(directive(1, 0.2), 1)
    assert made.fall_back(2, made.finals[1]).standing is Standing.HELD
    assert made.wants_plan(2, 1)


def test_a_directive_of_the_past_is_handed_back_and_kept_nowhere():
    made = book([0.1] * 8)
    late = made.take_final(directive(4, 0.9), 6)
    assert late is not None
    assert late.step == 4
    assert 4 not in made.finals


def test_bounds_and_advice_outlive_an_outage_and_actions_do_not():
    made = book([0.1, 0.2])
    last = Directive(0, (0.1,), clip_norm=2.0, actions=(("restore", "a"),), stop_advice="flat", only_rates=False)
    for step in (1, 2):
        fallback = made.fall_back(step, last)
        assert (fallback.clip_norm, fallback.actions, fallback.stop_advice) == (2.0, (), "flat")
        assert fallback.only_rates


def test_momentum_and_weight_decay_come_along():
    message = directive(3, 0.1)
    message.rates[0].momentum, message.rates[0].weight_decay = 0.9, 0.01
    made = RateBook()
    made.take_final(message, 0)
    taken = made.finals[3]
    assert (taken.momenta, taken.weight_decays, taken.only_rates) == ((0.9,), (0.01,), False)


def test_a_new_plan_is_wanted_before_the_old_one_runs_out_but_not_in_a_circle():
    made = book([0.1] * 8)
    assert not made.wants_plan(0, 4)
    assert made.wants_plan(5, 4)
    made.take_answer(answer(5, [0.1] * 2), 5)
    assert not made.wants_plan(5, 4), "the service has no more to say about steps this far"


def test_final_directives_ahead_of_the_trainer_are_bounded():
    made = book([0.1])
    for step in range(10_000):
        made.take_final(directive(step, 0.1), 0)
    assert len(made.finals) == AHEAD
    made.take_final(directive(10_000, 0.1), 10_000)
    assert 10_000 in made.finals, "what the trainer has passed makes room"
