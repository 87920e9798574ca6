"""The arms of a bench, and their runs in each scenario, in one process or several."""
import concurrent.futures
import functools
import multiprocessing
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import harness
import policies
import server
from interference import INTERFERENCE, SCENARIOS, WRONG_RATES
from lrs_policy import LrsPolicy

SERVICE = dict(lrs=dict(tier=2), lrs_lag8=dict(tier=2, decision_lag=8), lrs_lag32=dict(tier=2, decision_lag=32),
               lrs_tier1=dict(tier=1), lrs_tier0=dict(tier=0, clips=False))
OTHERS = dict(const=policies.Const, cosine=policies.Cosine, wsd=policies.WSD, linear=policies.Linear,
              plateau=policies.Plateau, plateau_fast=policies.PlateauFast, greedy=policies.Greedy)
DEFAULT = ("lrs", "lrs_lag8", "lrs_lag32", "lrs_tier1", "lrs_tier0", "const", "cosine", "plateau", "greedy")
GIVEN = ("m1", *WRONG_RATES)
# Which scenarios an arm is run in, where the four given rates are not all.
PLAN = dict(lrs=(*GIVEN, *INTERFERENCE), cosine=(*GIVEN, *INTERFERENCE), const=(*GIVEN, "spike", "nan"),
            plateau=(*GIVEN, "spike", "nan"))
# The score of a diverged run in a mean.
WORST = 1e3


def scenarios(arm, wanted=None):
    """The scenarios that an arm is run in."""
    of = wanted or PLAN.get(arm, GIVEN)
    return [each for each in of if not (is_open(arm) and SCENARIOS[each].as_open)]


def is_open(arm):
    return arm in OTHERS and issubclass(OTHERS[arm], policies.Open)


def compared(file_and_class):
    """The policy class that `--compare-policy` names: {class name: class}."""
    if not file_and_class:
        return {}
    file, _, name = file_and_class.rpartition(":")
    if not Path(file).is_file():
        raise SystemExit(f"--compare-policy is {file_and_class!r}; it must be FILE:CLASS, and the file exist")
    return {name: getattr(harness.load("compared_policy", file), name)}


@dataclass(frozen=True)
class Settings:
    address: str
    binary: str | None  # to replay with
    seeds: int
    compare_policy: str | None


@dataclass(frozen=True)
class Task:
    """An arm on a workload in these scenarios."""

    folder: Path
    name: str
    anchor: dict
    arm: str
    scenarios: list


@dataclass
class Done:
    cells: dict = field(default_factory=dict)
    replayed: int = 0
    differences: list = field(default_factory=list)


def carried_out(tasks, settings, jobs):
    """Yields each task and what came of it, as they end."""
    if jobs == 1:
        yield from ((task, carry_out(task, settings)) for task in tasks)
        return
    # Spawned, because neither gRPC nor JAX survives a fork.
    with concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(carry_out, task, settings): task for task in tasks}
        for future in concurrent.futures.as_completed(waiting):
            yield waiting[future], future.result()


@functools.lru_cache(maxsize=1)
def workload(folder, name):
    """The workload; the newest one is kept, since the next task often has it too."""
    return next(kind for kind in harness.workloads(folder) if kind.name == name)()


def carry_out(task, settings):
    records = server.Records(settings.binary, settings.address)
    try:
        return Arm(task, settings, records).run()
    finally:
        records.close()


class Arm:
    def __init__(self, task, settings, records):
        self.task, self.settings, self.records = task, settings, records
        self.workload = workload(task.folder, task.name)
        self.done = Done()

    def run(self):
        for scenario in self.task.scenarios:
            started = time.monotonic()
            cell = self.cell(scenario)
            self.done.cells[f"{self.task.arm}/{scenario}"] = cell
            print(f"{self.task.name:20} {self.task.arm:12} {scenario:9} "
                  f"{cell['mean'] / self.task.anchor['best_value']:8.3f} of the best hand-tuned, "
                  f"{time.monotonic() - started:.1f} s", flush=True)
        return self.done

    def cell(self, scenario):
        """The runs in a scenario, one for each seed."""
        best = self.task.anchor["const"]["best"]
        lr = best["lr"] * SCENARIOS[scenario].given
        runs = [self.train(lr, scenario, seed) for seed in range(self.settings.seeds)]
        cell = {name: [run.get(name) for run in runs] for name in runs[0]}
        steps = [next((step for step, v in each if v <= best["mean"]), None) for each in cell.pop("V")]
        return dict(mean=float(np.mean(np.minimum(cell["final"], WORST))), steps_to_target=steps, lr0=lr) | cell

    def train(self, lr, scenario, seed):
        scatter = self.task.anchor["const"]["best"].get("scatter")
        if scatter is None and SCENARIOS[scenario].noise > 1:
            raise SystemExit(f"the anchors of {self.task.name} do not say how its evaluations scatter: tune them anew")
        disturbances = SCENARIOS[scenario].disturbances(self.workload, seed, scatter or 0.0)
        if self.task.arm in SERVICE:
            labels = dict(workload=self.task.name, scenario=scenario, arm=self.task.arm, seed=str(seed))
            make = functools.partial(LrsPolicy, address=self.settings.address, labels=labels, **SERVICE[self.task.arm])
        else:
            make = (OTHERS | compared(self.settings.compare_policy))[self.task.arm]
            if is_open(self.task.arm) and disturbances.is_none and hasattr(self.workload, "run_open"):
                return self.open_run(make, lr, seed)
        run = harness.run(self.workload, make, lr, seed, disturbances)
        if self.task.arm in SERVICE:
            return self.figures(run) | self.recorded(run["pol"], lr)
        return self.figures(run)

    def open_run(self, make, lr, seed):
        every = self.workload.eval_every
        _, steering, scores = self.workload.run_open(seed, make(self.workload.T, lr, every).rates)
        evaluations = [((i + 1) * every, float(v)) for i, v in enumerate(steering)]
        return dict(final=float(scores[-1]), best=float(min(steering)), V=evaluations)

    def figures(self, run):
        return {name: run[name] for name in ("final", "best", "V")}

    def recorded(self, policy, lr):
        """The figures of a run under the service from the service's records."""
        figures = server.figures(self.records.decisions(policy.job), lr)
        if self.records.binary:
            difference = self.records.replay(policy.job)
            self.done.replayed += 1
            if difference:
                self.done.differences.append(policy.job)
                print(f"replayed otherwise: {difference}", flush=True)
        return figures | dict(job=policy.job, wait_ms=1e3 * policy.waited_s / self.workload.T)
