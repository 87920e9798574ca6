"""What to train a step at: the final directive if it is there, else the plan, else the last rates.

What came from the service goes in on the link's threads; the best answer that can be given now comes out on the trainer's.
The trainer takes no lock: it takes final directives out of a dictionary and reads a plan that is never changed, only
replaced.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lrs.v1 import learning_rate_service_pb2 as wire

#: Final directives kept ahead of the trainer. The service hands out fewer (`JobSpec.commit_ahead` is at most 1024).
AHEAD = 4096


class Standing(enum.IntEnum):
    """How sure a directive is."""

    FINAL = 0
    """The service's last word: the same for every rank, for ever."""
    PLANNED = 1
    """The last word was not there in time: the service's provisional plan."""
    HELD = 2
    """There was no plan for the step either: the rates of the step before."""


class Action(NamedTuple):
    """Something a trainer of tier 2 does before it trains a step."""

    kind: str
    """`snapshot`, `restore` or `forget`."""
    identifier: str
    """Under which the copy is kept."""


class Directive(NamedTuple):
    """What to train a step at. Every list has one entry a parameter group, in the order of the job's spec."""

    step: int
    """The step."""
    rates: tuple[float, ...]
    """Learning rates."""
    standing: Standing = Standing.FINAL
    """How sure it is."""
    momenta: tuple[float | None, ...] = ()
    """Momenta (or Adam's beta1); empty where the job does not schedule them."""
    weight_decays: tuple[float | None, ...] = ()
    """Weight decays; empty where the job does not schedule them."""
    clip_norm: float | None = None
    """Scale the gradient down to this norm where it is greater. Tier 1 and up."""
    skip_above_norm: float | None = None
    """Leave the update out where the gradient's norm is greater. Tier 0."""
    actions: tuple[Action, ...] = ()
    """What to do before the step, in this order. Tier 2."""
    stop_advice: str = ""
    """Why training could stop; empty while nothing speaks for it."""
    only_rates: bool = True
    """Whether there is nothing to set but learning rates, and nothing to do."""


class Plan(NamedTuple):
    """Rates of the steps from `first_step` on, valid until a final directive contradicts them."""

    first_step: int
    rates: list[list[float]]  # [group][step]
    momenta: list[list[float]]  # the same, or empty lists
    weight_decays: list[list[float]]
    steps: int

    def rates_at(self, step: int) -> tuple[float, ...] | None:
        """The planned rates of a step, if the plan reaches that far."""
        index = step - self.first_step
        return tuple([column[index] for column in self.rates]) if 0 <= index < self.steps else None

    def at(self, step: int, standing: Standing) -> Directive | None:
        """The plan for a step, if it reaches that far."""
        rates = self.rates_at(step)
        if rates is None:
            return None
        index = step - self.first_step
        momenta, weight_decays = _column(self.momenta, index), _column(self.weight_decays, index)
        return Directive(step, rates, standing, momenta, weight_decays, only_rates=not (momenta or weight_decays))


class RateBook:
    """Final directives and a plan."""

    def __init__(self, *, trusts_plan: bool = True) -> None:
        self.finals: dict[int, Directive] = {}
        self.plan: Plan | None = None
        # Whether the final part of a plan says all there is to a step: a plan has rates only.
        self.trusts_plan = trusts_plan
        # All steps from the trainer's to this one are in `finals`; -1 before the first.
        self.final_through = -1
        self._asked_at = -1

    def take_final(self, message: wire.Directive, next_step: int) -> Directive | None:
        """Take a directive that came down the stream; returned if the trainer is past its step already."""
        directive = from_wire(message)
        if directive is None or not message.is_final:
            return None
        if directive.step < next_step:
            return directive
        plan = self.plan
        planned = plan.rates_at(directive.step) if plan is not None else None
        if planned is not None and planned != directive.rates:
            # A decision has been taken since the plan was made: nothing of it after this step can be believed.
            self.plan = None
        self._keep(directive, next_step)
        return None

    def take_answer(self, answer: wire.GetLearningRateResponse, next_step: int) -> None:
        """Take the answer to a question for a step and the steps after it."""
        head = from_wire(answer.directive)
        if head is None:
            return
        self._asked_at = head.step
        self.plan = _plan(head, answer.plan)
        if answer.directive.is_final:
            self._keep(head, next_step)
            if self.trusts_plan:
                for step in range(head.step + 1, head.step + 1 + answer.plan.final_steps):
                    planned = self.plan.at(step, Standing.FINAL)
                    if planned is not None:
                        self._keep(planned, next_step)

    def fall_back(self, step: int, last: Directive) -> Directive:
        """What to go on with where the final directive of a step is not to be had."""
        plan = self.plan
        planned = plan.at(step, Standing.PLANNED) if plan is not None else None
        if planned is None:
            planned = last._replace(step=step, standing=Standing.HELD, actions=())
        # The bounds and the advice of the step before are the best that is known; actions are done once.
        return planned._replace(
            clip_norm=last.clip_norm,
            skip_above_norm=last.skip_above_norm,
            stop_advice=last.stop_advice,
            only_rates=not (planned.momenta or planned.weight_decays),
        )

    def wants_plan(self, next_step: int, margin: int) -> bool:
        """Whether to ask for a plan: the one at hand is contradicted, or runs out within `margin` steps."""
        plan = self.plan
        if plan is None:
            return True
        short = plan.first_step + plan.steps < next_step + margin
        # A plan that is short although it was just asked for has come to the service's end: do not ask in a circle.
        return short and next_step >= self._asked_at + margin

    def _keep(self, directive: Directive, next_step: int) -> None:
        step, finals = directive.step, self.finals
        if step < next_step:
            return
        if len(finals) >= AHEAD:
            for old in [known for known in finals if known < next_step]:
                finals.pop(old, None)
            if len(finals) >= AHEAD:
                return
        finals[step] = directive
        if step == self.final_through + 1 or self.final_through < next_step:
            self.final_through = max(step, self.final_through)


def from_wire(message: wire.Directive) -> Directive | None:
    """A directive as the service sent it; `None` if it names no rates."""
    groups = list(message.rates)  # each walk over a repeated field costs more than what is done with it
    if not groups:
        return None
    rates = tuple([group.learning_rate for group in groups])
    momenta: tuple[float | None, ...] = ()
    weight_decays: tuple[float | None, ...] = ()
    if True in [group.HasField("momentum") for group in groups]:
        momenta = tuple([group.momentum if group.HasField("momentum") else None for group in groups])
    if True in [group.HasField("weight_decay") for group in groups]:
        weight_decays = tuple([group.weight_decay if group.HasField("weight_decay") else None for group in groups])
    told = message.actions
    actions = tuple([_action(action) for action in told]) if told else ()
    return Directive(
        message.step,
        rates,
        Standing.FINAL,
        momenta,
        weight_decays,
        message.clip_norm if message.HasField("clip_norm") else None,
        message.skip_above_norm if message.HasField("skip_above_norm") else None,
        actions,
        message.stop_advice,
        not (momenta or weight_decays or actions),
    )


def _plan(head: Directive, message: wire.RatePlan) -> Plan:
    """The plan that begins with `head`; only that if the message does not go on from there."""
    rates = [[rate] for rate in head.rates]
    momenta: list[list[float]] = [[value] for value in head.momenta if value is not None]
    weight_decays: list[list[float]] = [[value] for value in head.weight_decays if value is not None]
    groups = message.groups
    if message.first_step == head.step + 1 and len(groups) == len(rates):
        for column, group in zip(rates, groups, strict=True):
            column.extend(group.learning_rate)
        for columns, name in ((momenta, "momentum"), (weight_decays, "weight_decay")):
            # Where only some groups have one, the plan goes without: the optimizer keeps what the last directive set.
            if len(columns) == len(groups):
                for column, group in zip(columns, groups, strict=True):
                    column.extend(getattr(group, name))
    return Plan(head.step, rates, momenta, weight_decays, min(map(len, rates)))


def _action(message: wire.Action) -> Action:
    kind = message.WhichOneof("kind") or "none"
    return Action(kind, getattr(message, kind, ""))


def _column(columns: Sequence[Sequence[float]], index: int) -> tuple[float | None, ...]:
    if not columns or any(index >= len(column) for column in columns):
        return ()
    return tuple([column[index] for column in columns])
