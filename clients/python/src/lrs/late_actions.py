"""Actions of steps that went by on the plan: they come late, rather than never."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrs.mailbox import Mailbox
    from lrs.rates import Action, Directive

#: Steps on the plan that are remembered.
_REMEMBERED = 1000


class LateActions:
    """Remembers the steps on the plan until their final directives are there."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._missed: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._missed or self._mailbox.late)

    def miss(self, step: int) -> None:
        """A step is trained without its final directive."""
        self._missed.append(step)
        del self._missed[:-_REMEMBERED]

    def take(self, step: int) -> list[Action]:
        """The actions that are known by now, in the order of their steps, before `step` is trained."""
        finals, late = self._mailbox.book.finals, self._mailbox.late
        passed: list[Directive] = []
        for missed in self._missed:
            final = finals.pop(missed, None)
            if final is not None:
                passed.append(final)
        # The last word on a step that is still trained comes in as if it were in time; that on an earlier one, as late.
        known = {directive.step for directive in passed}
        self._missed = [missed for missed in self._missed if missed + 1 >= step and missed not in known]
        while late:
            passed.append(late.popleft())
        return [action for directive in sorted(passed, key=lambda final: final.step) for action in directive.actions]
