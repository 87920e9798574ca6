"""What needs no server: which copies a trainer takes and goes back to, and what the harness makes of a directive.

  python -m unittest        (in this folder)
"""
import random
import unittest

from harness import acts_of, carry_out, run
from lrs_copies import Copies


class Trainer:
    """A state that is a number, and whose every step makes another."""

    T, eval_every = 4, 2

    def init(self, seed):
        self.state = self.newest = seed

    def step(self, lr, gscale=1.0, clip=None):
        self.newest += 1
        self.state = self.newest
        return float(self.state), 1.0, {}

    def eval(self):
        return float(self.state)

    score = eval

    def snapshot(self):
        return self.state

    def restore(self, state):
        self.state = state


class Reference:
    """What the service means: a copy for each identifier, actions one by one."""

    def __init__(self):
        self.copies = {}

    def carry_out(self, actions, state):
        for kind, identifier in actions:
            if kind == "snapshot":
                self.copies[identifier] = state
            elif kind == "restore":
                state = self.copies.get(identifier, state)
            else:
                self.copies.pop(identifier, None)
        return state


def some_actions(rng):
    kinds = rng.choices(["snapshot", "restore", "forget"], [5, 3, 2], k=rng.choice([0, 0, 1, 1, 2, 3, 5]))
    return [(kind, rng.choice("abcdef")) for kind in kinds]


class CopiesTest(unittest.TestCase):
    def test_snapshots_of_one_step_share_a_copy(self):
        self.assertEqual(Copies().acts([("snapshot", "start"), ("snapshot", "best")]), [("snap", "copy0")])

    def test_a_snapshot_after_a_restore_is_the_copy_restored(self):
        copies = Copies()
        copies.acts([("snapshot", "best")])
        self.assertEqual(copies.acts([("restore", "best"), ("snapshot", "good")]), [("restore", "copy0")])
        self.assertEqual(copies.acts([("forget", "best"), ("restore", "good")]), [("restore", "copy0")])

    def test_a_snapshot_and_a_restore_of_another_are_both_done(self):
        copies = Copies()
        copies.acts([("snapshot", "start")])
        both = [("snapshot", "best"), ("restore", "start")]
        self.assertEqual(copies.acts(both), [("snap", "copy1"), ("restore", "copy0")])
        self.assertEqual(copies.acts([("restore", "best")]), [("restore", "copy1")])
        self.assertEqual(copies.left_out, 0)

    def test_where_one_act_is_all_the_restore_is_done_and_the_older_copy_stays(self):
        copies = Copies()
        copies.acts([("snapshot", "start")])
        copies.acts([("snapshot", "best")])
        both = [("snapshot", "best"), ("snapshot", "new"), ("restore", "start")]
        self.assertEqual(copies.acts(both, only_one=True), [("restore", "copy0")])
        self.assertEqual(copies.left_out, 1)
        self.assertEqual(copies.acts([("restore", "best")], only_one=True), [("restore", "copy1")])
        self.assertEqual(copies.acts([("restore", "new")], only_one=True), [])

    def test_a_snapshot_that_is_restored_or_replaced_at_once_costs_nothing(self):
        copies = Copies()
        copies.acts([("snapshot", "a")])
        self.assertEqual(copies.acts([("snapshot", "b"), ("restore", "b"), ("forget", "b")]), [])
        self.assertEqual(copies.acts([("snapshot", "b"), ("restore", "a"), ("snapshot", "b")]), [("restore", "copy0")])

    def test_a_copy_that_is_not_kept_is_passed_over(self):
        self.assertEqual(Copies().acts([("restore", "best")]), [])

    def test_copies_that_nothing_stands_for_are_written_over(self):
        copies = Copies()
        names = {copies.acts([("snapshot", "best")])[0][1] for _ in range(100)}
        self.assertEqual(names, {"copy0", "copy1"})

    def test_an_unknown_action_is_an_error(self):
        with self.assertRaisesRegex(ValueError, "'stop'"):
            Copies().acts([("stop", "")])

    def test_any_actions_leave_the_states_that_the_service_means(self):
        seed = random.randrange(2**32)
        rng = random.Random(seed)
        trainer, copies, reference, physical = Trainer(), Copies(), Reference(), {}
        trainer.init(0)
        for step in range(5000):
            actions = some_actions(rng)
            wanted = reference.carry_out(actions, trainer.state)
            acts = copies.acts(actions)
            for act in acts:
                carry_out(act, trainer, physical)
            said = f"seed {seed}, step {step}: {actions} as {acts}"
            self.assertEqual(trainer.state, wanted, said)
            self.assertEqual({i: physical[copy] for i, copy in copies.of.items()}, reference.copies, said)
            self.assertLessEqual(len(acts), 2, said)
            self.assertLessEqual(len(physical), 7, said)
            trainer.step(0.0)

    def test_with_one_act_a_step_every_restore_is_right_or_an_older_copy(self):
        seed = random.randrange(2**32)
        rng = random.Random(seed)
        trainer, copies, physical, history = Trainer(), Copies(), {}, {}
        trainer.init(0)
        for step in range(5000):
            actions = some_actions(rng)
            acts = copies.acts(actions, only_one=True)
            said = f"seed {seed}, step {step}: {actions} as {acts}"
            self.assertLessEqual(len(acts), 1, said)
            for act in acts:
                carry_out(act, trainer, physical)
            self.assertLessEqual(set(copies.of.values()), set(physical), said)
            for identifier, copy in copies.of.items():
                # A copy never changes while an identifier stands for it.
                self.assertEqual(history.get((identifier, copy), physical[copy]), physical[copy], said)
            history = {(identifier, copy): physical[copy] for identifier, copy in copies.of.items()}
            trainer.step(0.0)
        self.assertGreater(copies.left_out, 0, f"seed {seed}")


class FakeService:
    """A policy whose directives' actions are given, translated as LrsPolicy does."""

    def __init__(self, actions, takes_acts=False):
        self.actions, self.takes_acts, self.copies = actions, takes_acts, Copies()
        self.seen, self.is_closed = [], False

    def next(self, k):
        acts = self.copies.acts(self.actions.get(k, []), only_one=not self.takes_acts)
        return dict(lr=0.1, clip=None, act=acts[-1] if acts else None, acts=acts)

    def observe(self, k, loss, grad_norm, extra):
        self.seen.append((k, loss))

    def observe_val(self, k, v):
        self.seen.append((k, v))

    def close(self):
        self.is_closed = True


class HarnessTest(unittest.TestCase):
    ACTIONS = {1: [("snapshot", "a")], 2: [("snapshot", "b"), ("restore", "a")], 3: [("restore", "b")]}

    def test_the_harness_does_all_that_a_directive_says(self):
        policy = FakeService(self.ACTIONS)
        rows = run(Trainer(), lambda *_: policy, 0.1, seed=10)
        # Steps 0 to 3 make the states 11 to 14; an evaluation follows every second one.
        self.assertEqual(policy.seen, [(0, 11.0), (1, 12.0), (1, 12.0), (2, 13.0), (3, 14.0), (3, 14.0)])
        self.assertEqual((rows["final"], rows["best"], rows["lrs"]), (14.0, 12.0, [0.1] * 4))
        self.assertTrue(policy.is_closed)
        self.assertEqual(policy.copies.left_out, 0)

    def test_a_policy_is_closed_when_a_run_fails(self):
        policy = FakeService({0: [("stop", "")]})
        with self.assertRaises(ValueError):
            run(Trainer(), lambda *_: policy, 0.1, seed=0)
        self.assertTrue(policy.is_closed)

    def test_a_directive_without_a_list_has_its_one_act(self):
        self.assertEqual(acts_of(dict(act=("snap", "S"))), [("snap", "S")])
        self.assertEqual(acts_of(dict(act=None)), [])
        self.assertEqual(acts_of(dict(act=("restore", "S"), acts=[("snap", "V"), ("restore", "S")]))[0], ("snap", "V"))


if __name__ == "__main__":
    unittest.main()
