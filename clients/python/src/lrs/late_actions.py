"""The actions of steps that were trained on the plan: they are done late."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrs.mailbox import Mailbox
    from lrs.rates import Action, Directive

#: How many steps on the plan are remembered.
_REMEMBERED = 1000


class LateActions:
    """Remembers the steps trained on the plan until their final directives come."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._missed: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._missed or self._mailbox.late)

    def miss(self, step: int) -> None:
        """Remember a step that is trained without its final directive."""
        self._missed.append(step)
        del self._missed[:-_REMEMBERED]

    def take(self, step: int) -> list[Action]:
        """The actions that have come by now, in the order of their steps. `step` is the step to be trained next."""
        finals, late = self._mailbox.book.finals, self._mailbox.late
        passed: list[Directive] = []
        for missed in self._missed:
            final = finals.pop(missed, None)
            if final is not None:
                passed.append(final)
        # The final directive of the step in training comes in among `finals`; that of an earlier step comes in as
        # `late`.
        known = {directive.step for directive in passed}
        self._missed = [missed for missed in self._missed if missed + 1 >= step and missed not in known]
        while late:
            passed.append(late.popleft())
        return [action for directive in sorted(passed, key=lambda final: final.step) for action in directive.actions]
