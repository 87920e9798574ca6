"""Maps the identifiers of the service to the copies that a trainer keeps.

Before a step, the service may ask for several actions: keep the state under one or more identifiers, restore another
state, and keep that too. A trainer has the present state and some copies, and needs at most one snapshot and one
restore to carry out all the actions. Identifiers of the same state share one copy, and a copy without identifiers is
overwritten, so there is at most one copy more than there are identifiers in use.
"""
import itertools


class Copies:
    def __init__(self):
        # The copy of each identifier of the service.
        self.of = {}
        # How many snapshots could not be taken, because only one act was possible.
        self.left_out = 0

    def acts(self, actions, only_one=False):
        """The acts for actions ("snapshot" | "restore" | "forget", identifier): a list of ("snap" | "restore", copy).

        At most a snapshot of the present state, then a restore. With `only_one`, a step that needs both gets only the
        restore, because going on from the wrong state is worse than having an older copy; the identifiers of the
        snapshot then keep their earlier copy, if they have one. A restore of a state that is not kept is skipped, as
        the interface says.
        """
        before = dict(self.of)
        in_use = set(before.values())
        fresh = next(name for name in (f"copy{i}" for i in itertools.count()) if name not in in_use)
        # The copy that equals the present state; it may be the copy about to be taken.
        here = fresh
        for kind, identifier in actions:
            if kind == "snapshot":
                self.of[identifier] = here
            elif kind == "restore":
                here = self.of.get(identifier, here)
            elif kind == "forget":
                self.of.pop(identifier, None)
            else:
                raise ValueError(f"the service wants {kind!r} done, which is none of snapshot, restore and forget")
        needs_snapshot, needs_restore = fresh in self.of.values(), here != fresh
        if needs_snapshot and needs_restore and only_one:
            self._leave_out(fresh, before)
            needs_snapshot = False
        return [("snap", fresh)] * needs_snapshot + [("restore", here)] * needs_restore

    def _leave_out(self, fresh, before):
        for identifier in [i for i, copy in self.of.items() if copy == fresh]:
            if identifier in before:
                self.of[identifier] = before[identifier]
            else:
                del self.of[identifier]
        self.left_out += 1
