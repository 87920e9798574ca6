"""The directives of a trainer's steps: the final directive if it has come, else the plan, else the last rates.

The link's threads put the service's answers in, and the trainer's thread takes the best known directive out. The trainer
takes no lock: it pops final directives from a dictionary, and reads a plan that is replaced but never changed.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lrs.v1 import learning_rate_service_pb2 as wire

#: The most final directives to keep. The service sends fewer: `JobSpec.commit_ahead` is at most 1024.
AHEAD = 4096


class Standing(enum.IntEnum):
    """Where a directive comes from."""

    FINAL = 0
    """The service has decided it for good, and every rank gets the same."""
    PLANNED = 1
    """The final directive did not come in time: this is from the service's provisional plan."""
    HELD = 2
    """There was no plan for the step either: these are the rates of the step before."""


class Action(NamedTuple):
    """An action of a trainer of tier 2 before it trains a step."""

    kind: str
    """`snapshot`, `restore` or `forget`."""
    identifier: str
    """The name of the copy."""


class Directive(NamedTuple):
    """The settings to train a step with. Lists have an entry for each parameter group, in the order of the job's spec."""

    step: int
    """The step."""
    rates: tuple[float, ...]
    """Learning rates."""
    standing: Standing = Standing.FINAL
    """Where it comes from."""
    momenta: tuple[float | None, ...] = ()
    """Momenta (or Adam's beta1); empty if the job does not schedule them."""
    weight_decays: tuple[float | None, ...] = ()
    """Weight decays; empty if the job does not schedule them."""
    clip_norm: float | None = None
    """Scale a gradient with a greater norm down to this norm. Tier 1 and up."""
    skip_above_norm: float | None = None
    """Leave the update out if the gradient's norm is greater. Tier 0."""
    actions: tuple[Action, ...] = ()
    """The actions to carry out before the step, in this order. Tier 2."""
    stop_advice: str = ""
    """The service's reason to stop training; empty if it gives none."""
    only_rates: bool = True
    """Whether the directive holds only learning rates: no momenta, weight decays or actions."""


class Plan(NamedTuple):
    """The rates of the steps from `first_step` on. They hold until a final directive contradicts them."""

    first_step: int
    rates: list[list[float]]  # [group][step]
    momenta: list[list[float]]  # the same, or empty lists
    weight_decays: list[list[float]]
    steps: int

    def rates_at(self, step: int) -> tuple[float, ...] | None:
        """The planned rates of a step; `None` past the plan's end."""
        index = step - self.first_step
        return tuple([column[index] for column in self.rates]) if 0 <= index < self.steps else None

    def at(self, step: int, standing: Standing) -> Directive | None:
        """The planned directive of a step; `None` past the plan's end."""
        rates = self.rates_at(step)
        if rates is None:
            return None
        index = step - self.first_step
        momenta, weight_decays = _column(self.momenta, index), _column(self.weight_decays, index)
        return Directive(step, rates, standing, momenta, weight_decays, only_rates=not (momenta or weight_decays))


class RateBook:
    """The final directives and the plan."""

    def __init__(self, *, trusts_plan: bool = True) -> None:
        self.finals: dict[int, Directive] = {}
        self.plan: Plan | None = None
        # Whether the final part of a plan counts as final directives: a plan has only rates.
        self.trusts_plan = trusts_plan
        # `finals` has all steps from the trainer's to this step; -1 before the first directive.
        self.final_through = -1
        self._asked_at = -1

    def take_final(self, message: wire.Directive, next_step: int) -> Directive | None:
        """Keep a directive from the stream. Returns the directive if the trainer has passed its step."""
        directive = from_wire(message)
        if directive is None or not message.is_final:
            return None
        if directive.step < next_step:
            return directive
        plan = self.plan
        planned = plan.rates_at(directive.step) if plan is not None else None
        if planned is not None and planned != directive.rates:
            # The service has decided something since it made the plan, so the plan is wrong from this step on.
            self.plan = None
        self._keep(directive, next_step)
        return None

    def take_answer(self, answer: wire.GetLearningRateResponse, next_step: int) -> None:
        """Keep an answer that holds a step's directive and the plan after it."""
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
        """The directive to use for a step whose final directive has not come."""
        plan = self.plan
        planned = plan.at(step, Standing.PLANNED) if plan is not None else None
        if planned is None:
            planned = last._replace(step=step, standing=Standing.HELD, actions=())
        # The bounds and the advice of the step before are the best known; its actions must not be repeated.
        return planned._replace(
            clip_norm=last.clip_norm,
            skip_above_norm=last.skip_above_norm,
            stop_advice=last.stop_advice,
            only_rates=not (planned.momenta or planned.weight_decays),
        )

    def wants_plan(self, next_step: int, margin: int) -> bool:
        """Whether to ask for a plan: a final directive contradicts the present plan, or it ends within `margin` steps."""
        plan = self.plan
        if plan is None:
            return True
        short = plan.first_step + plan.steps < next_step + margin
        # If a new plan is short too, the service plans no further: do not ask again and again.
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
    """The directive in a message of the service; `None` if the message names no rates."""
    groups = list(message.rates)  # reading a repeated field again would cost more than the rest of this function
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
    """The plan that begins with `head`. It ends there if the message does not continue it."""
    rates = [[rate] for rate in head.rates]
    momenta: list[list[float]] = [[value] for value in head.momenta if value is not None]
    weight_decays: list[list[float]] = [[value] for value in head.weight_decays if value is not None]
    groups = message.groups
    if message.first_step == head.step + 1 and len(groups) == len(rates):
        for column, group in zip(rates, groups, strict=True):
            column.extend(group.learning_rate)
        for columns, name in ((momenta, "momentum"), (weight_decays, "weight_decay")):
            # If only some groups have a value, the plan has none: the optimizer keeps the last directive's values.
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
