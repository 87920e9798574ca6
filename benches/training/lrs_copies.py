"""Which of a trainer's copies each of the service's identifiers stands for.

The service may ask for several actions before a step: keep the state under one or more identifiers, go back to another, and
keep that too. A trainer has the state of the moment and some copies; what it must really do is at most one snapshot and
one restore. All identifiers that were given to the same state share one copy, and a copy that none stands for any more is
written over, so there are never more copies than identifiers in use, and one.
"""
import itertools


class Copies:
    def __init__(self):
        # The copy of each identifier of the service.
        self.of = {}
        # How many snapshots could not be taken, since there was but one act to spend.
        self.left_out = 0

    def acts(self, actions, only_one=False):
        """What to do for actions ("snapshot" | "restore" | "forget", identifier): a list of ("snap" | "restore", copy).

        At most a snapshot of the state as it is, then a restore. With `only_one`, a step that needs both gets the restore,
        as going on from the wrong state is worse than having an older copy; the identifiers of the snapshot keep what they
        stood for before, if anything. To restore what is not kept is passed over, as the interface says.
        """
        before = dict(self.of)
        in_use = set(before.values())
        fresh = next(name for name in (f"copy{i}" for i in itertools.count()) if name not in in_use)
        # The copy that the state is the same as, which may be the one about to be taken of it.
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
