"""What needs no server: the disturbances of a run, the peers, and the bars.

  python -m unittest        (in this folder)
"""
import functools
import math
import unittest

import torch

import arms
import bars
import policies
import schedules
from harness import run
from interference import SCENARIOS, Scenario
from peers import PEERS
from policies import Const, Greedy, Plateau
from test_lrs_policy import Trainer
from torch_engine import TorchClassifier


class Long(Trainer):
    """A trainer of 200 steps that notes how each gradient was disturbed."""

    T, eval_every = 200, 10

    def init(self, seed):
        super().init(seed)
        self.factors, self.lost = [], 0

    def step(self, lr, gscale=1.0, clip=None):
        self.factors.append(gscale)
        return super().step(lr)

    def restore(self, state):
        self.lost += self.state - state
        super().restore(state)


class Watching(Const):
    """Notes what it is told."""

    def setup(self):
        super().setup()
        self.losses, self.skipped, self.values = {}, set(), {}

    def observe(self, k, loss, grad_norm, extra):
        self.losses[k] = loss
        if extra.get("skipped"):
            self.skipped.add(k)

    def observe_val(self, k, v):
        self.values[k] = v


def watched(scenario, trainer=None, seed=1, scatter=0.0):
    trainer = trainer or Long()
    return trainer, run(trainer, Watching, 0.1, seed, scenario.disturbances(trainer, seed, scatter))["pol"]


class InterferenceTest(unittest.TestCase):
    def test_a_skipped_update_overflows_and_is_reported(self):
        trainer, policy = watched(Scenario(skipped=0.1))
        self.assertTrue(5 <= len(policy.skipped) <= 40)
        self.assertEqual(policy.skipped, {k for k, factor in enumerate(trainer.factors) if factor == math.inf})
        self.assertTrue(all(map(math.isfinite, policy.losses.values())))

    def test_a_bad_sample_makes_loss_and_gradient_nan_and_is_not_reported(self):
        trainer, policy = watched(Scenario(nan_losses=0.1))
        bad = {k for k, loss in policy.losses.items() if math.isnan(loss)}
        self.assertTrue(5 <= len(bad) <= 40)
        self.assertEqual(bad, {k for k, factor in enumerate(trainer.factors) if math.isnan(factor)})
        self.assertFalse(policy.skipped)

    def test_the_same_seed_disturbs_the_same_steps(self):
        first, second, other = (watched(Scenario(skipped=0.1), seed=seed)[1].skipped for seed in (1, 1, 2))
        self.assertEqual(first, second)
        self.assertNotEqual(first, other)

    def test_evaluations_are_as_many_as_the_scenario_says(self):
        for count in (5, 20, 100):
            self.assertEqual(len(watched(Scenario(evaluations=count))[1].values), count)

    def test_noise_is_added_to_what_a_controller_sees(self):
        calm, noisy = (watched(Scenario(noise=noise), scatter=0.5)[1].values for noise in (1.0, 3.0))
        added = [noisy[k] - calm[k] for k in calm]
        deviation = math.sqrt(sum(x * x for x in added) / len(added))
        # 0.5 * sqrt(8) is 1.4; there are 20 values.
        self.assertTrue(0.7 < deviation < 2.8, deviation)

    def test_a_killed_process_goes_on_from_its_last_checkpoint(self):
        trainer, policy = watched(SCENARIOS["restart2"])
        # At 50 back to 40, and at 130 to 120; each step then has its telemetry.
        self.assertEqual(trainer.lost, 20)
        self.assertEqual(len(trainer.factors), 220)
        self.assertEqual(sorted(policy.losses), list(range(200)))

    def test_a_policy_of_the_trainer_goes_on_from_the_checkpoint_too(self):
        policy = Plateau(100, 0.1, 5)
        for k in range(3):
            policy.observe_val(k, 1.0)
        saved = policy.checkpoint()
        for k in range(20):
            policy.observe_val(k, 1.0)
        policy.restart(0, saved)
        self.assertEqual((policy.lr, policy.bad), (0.1, 2))


class PoliciesTest(unittest.TestCase):
    def test_greedy_raises_after_eleven_better_losses_and_cuts_after_eleven_others(self):
        policy = Greedy(100, 0.1, 5)
        for k in range(11):
            policy.observe(k, 1.0 - k / 100, 1.0, {})
        self.assertEqual(policy.lr, 0.1 / 0.95)
        for k in range(22):
            policy.observe(k, 2.0, 1.0, {})
        self.assertAlmostEqual(policy.lr, 0.1 * 0.95)

    def test_greedy_does_not_move_a_rate_below_its_least_one(self):
        policy = Greedy(100, 1e-4, 5)
        for k in range(50):
            policy.observe(k, 2.0, 1.0, {})
        self.assertEqual(policy.lr, 1e-4)

    def test_open_policies_are_not_run_where_only_a_controller_is_disturbed(self):
        self.assertEqual(arms.scenarios("cosine", ["m1", "skip5", "noise3", "restart2"]), ["m1", "skip5"])
        self.assertEqual(arms.scenarios("lrs", ["noise3"]), ["noise3"])
        self.assertFalse(arms.is_open("plateau") or arms.is_open("lrs"))
        self.assertTrue(issubclass(arms.OTHERS["wsd"], policies.Open))


class Small(TorchClassifier):
    name, T, rows = "small", 40, 16

    def data(self):
        random = torch.Generator().manual_seed(0)
        x = torch.randn(400, 4, generator=random)
        self.keep(x, (x[:, 0] + x[:, 1] > 0).long(), 100, 0)

    def network(self):
        return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(),
                                   torch.nn.Dropout(0.1), torch.nn.Linear(8, 2))


class TorchTest(unittest.TestCase):
    def test_a_run_by_steps_is_the_run_as_a_whole(self):
        workload, rates = Small(), Const(40, 0.01, 1).rates
        _, steering, scores = workload.run_open(3, rates)
        stepwise = run(workload, Const, 0.01, 3)
        self.assertEqual(stepwise["final"], scores[-1])
        self.assertEqual([v for _, v in stepwise["V"]], steering)
        self.assertLess(scores[-1], 0.5)

    def test_a_copy_is_not_changed_by_training_on(self):
        workload = Small()
        workload.init(0)
        for _ in range(5):
            workload.step(0.01)
        copy, value = workload.snapshot(), workload.score()
        for _ in range(2):
            for _ in range(5):
                workload.step(0.01)
            self.assertNotEqual(workload.score(), value)
            workload.restore(copy)
            self.assertEqual(workload.score(), value)

    def test_an_update_that_is_not_finite_or_above_the_bound_is_skipped(self):
        workload = Small()
        workload.init(0)
        before = [p.detach().clone() for p in workload.parameters]
        for disturbed in (dict(gscale=math.nan), dict(gscale=math.inf), dict(skip_above=1e-9)):
            _, norm, _ = workload.step(0.01, **disturbed)
            self.assertTrue(all((a == b).all() for a, b in zip(before, workload.parameters, strict=True)), disturbed)
        workload.step(0.01)
        self.assertFalse(all((a == b).all() for a, b in zip(before, workload.parameters, strict=True)))

    def test_every_peer_learns(self):
        for opt in ("adamw", "sgd"):
            workload = Small()
            workload.opt = opt
            untrained = workload.run_open(0, schedules.const(1, 0.0))[2][-1]
            for name, peer in PEERS.items():
                rate = peer.rates(workload, 0.01)[0]
                make = functools.partial(peer.make, rate=rate)
                _, _, scores = workload.run_open(0, peer.shape(workload.T, rate), make)
                self.assertNotEqual(scores[-1], untrained, (opt, name))
                self.assertLess(scores[-1], 1.5 * untrained, (opt, name))


class BarsTest(unittest.TestCase):
    ANCHORS = dict(
        short=dict(T=60, best_value=1.0, peers=dict(prodigy=dict(mean=2.0), prodigy_best=dict(mean=1.0))),
        long=dict(T=1000, best_value=1.0))
    RESULTS = dict(
        short={"lrs/m1": dict(mean=1.2), "lrs/m10": dict(mean=3.0), "cosine/m1": dict(mean=1.0),
               "cosine/m10": dict(mean=2.0), "lrs/noise3": dict(mean=1.1)},
        long={"lrs/m1": dict(mean=0.9), "lrs/m10": dict(mean=1.1), "cosine/m1": dict(mean=1.0),
              "cosine/m10": dict(mean=5.0), "lrs_tier0/m10": dict(mean=6.0)})

    def setUp(self):
        self.bars = bars.bars(self.RESULTS, self.ANCHORS, ["lrs", "lrs_tier0", "cosine"])

    def test_the_right_rate_is_compared_with_the_same_rate_under_cosine(self):
        right = self.bars["right"]
        self.assertEqual((right["worst"], right["of"], right["met"]), (1.2, "short/lrs/m1", False))
        self.assertAlmostEqual(right["geomean"], math.sqrt(1.2 * 0.9), places=3)
        self.assertTrue(self.bars["by_length"][1000]["right"]["met"])

    def test_a_wrong_rate_is_compared_with_the_anchor_only_where_a_search_can_pay(self):
        self.assertEqual((self.bars["wrong"]["worst"], self.bars["wrong"]["cells"]), (1.1, 1))
        self.assertEqual((self.bars["wrong_trusted"]["worst"], self.bars["wrong_trusted"]["cells"]), (1.5, 1))
        self.assertIsNone(self.bars["by_arm"]["lrs_tier0"]["wrong"])
        self.assertEqual(self.bars["by_arm"]["lrs_tier0"]["wrong_trusted"]["worst"], 1.2)

    def test_what_disturbs_only_a_controller_is_compared_with_the_undisturbed_cosine(self):
        self.assertEqual(self.bars["interference"]["noise3"]["worst"], 1.1)
        self.assertIsNone(self.bars["interference"]["skip5"])

    def test_a_peer_at_its_defaults_must_be_beaten_everywhere_and_a_tuned_one_in_the_mean(self):
        peers = self.bars["peers"]["lrs"]
        self.assertTrue(peers["prodigy"]["met"])
        self.assertEqual(peers["prodigy"]["worst"], 0.6)
        self.assertFalse(peers["prodigy_best"]["met"])


if __name__ == "__main__":
    unittest.main()
