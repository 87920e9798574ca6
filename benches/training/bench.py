"""Trains workloads with the service and without it, in several scenarios, and prints the results.

The scenarios: m1, m01, m10, m30 (the user's rate is 1, 0.1, 10, 30 times the best constant rate), spike (the rate is
right, and the gradient is multiplied by 1000 for 3 steps at 20%, 45% and 70% of the run) and nan (the rate is right,
and the gradient is NaN for 5 steps at 45%). See README.md.
"""
import argparse
import contextlib
import functools
import json
import math
import time
from pathlib import Path

import numpy as np

import harness
import policies
import server
import tables
from lrs_policy import LrsPolicy

GIVEN = dict(m1=1.0, m01=0.1, m10=10.0, m30=30.0, spike=1.0, nan=1.0)
SERVICE = dict(lrs=dict(tier=2), lrs_lag8=dict(tier=2, decision_lag=8), lrs_tier0=dict(tier=0))
OTHERS = dict(const=policies.Const, plateau=policies.Plateau, plateau_fast=policies.PlateauFast, cosine=policies.Cosine,
              wsd=policies.WSD, linear=policies.Linear)
DEFAULT = "lrs,lrs_lag8,lrs_tier0,const,plateau"
# The score of a diverged run in a mean.
WORST = 1e3


def faults(T, scenario):
    """The faults of a scenario: {step: factor of the gradient}."""
    if scenario == "spike":
        return {int(T * share) + i: 1e3 for share in (0.2, 0.45, 0.7) for i in range(3)}
    if scenario == "nan":
        return {int(T * 0.45) + i: math.nan for i in range(5)}
    return {}


class Bench:
    """The arms, and the server that some of them need."""

    def __init__(self, address, records, compared):
        self.address, self.records = address, records
        self.others = OTHERS | compared
        self.replayed, self.differences = 0, []

    def cell(self, workload, anchor, arm, scenario, seeds):
        """The runs of an arm in a scenario, one for each seed."""
        lr = anchor["const"]["best"]["lr"] * GIVEN[scenario]
        runs = [self.train(workload, arm, lr, scenario, seed) for seed in range(seeds)]
        cell = {name: [run.get(name) for run in runs] for name in runs[0]}
        target = anchor["const"]["best"]["mean"]
        steps = [next(((i + 1) * workload.eval_every for i, v in enumerate(each) if v <= target), None)
                 for each in cell.pop("V")]
        return dict(mean=float(np.mean(np.minimum(cell["final"], WORST))), steps_to_target=steps, lr0=lr) | cell

    def train(self, workload, arm, lr, scenario, seed):
        broken = faults(workload.T, scenario)
        if arm in SERVICE:
            labels = dict(workload=workload.name, scenario=scenario, arm=arm, seed=str(seed))
            make = functools.partial(LrsPolicy, address=self.address, labels=labels, **SERVICE[arm])
            run = harness.run(workload, make, lr, seed, broken)
            return self.recorded(run, workload.T, lr)
        make = self.others[arm]
        if isinstance(make, type) and issubclass(make, policies.Open) and not broken and hasattr(workload, "run_open"):
            rates = make(workload.T, lr, workload.eval_every).rates
            _, steering, scores = workload.run_open(seed, rates)
            return dict(final=float(scores[-1]), best=float(min(steering)), V=steering.tolist())
        run = harness.run(workload, make, lr, seed, broken)
        return {name: run[name] for name in ("final", "best", "V")}

    def recorded(self, run, T, lr):
        """The figures of a run under the service, with those from the service's records."""
        policy = run["pol"]
        figures = server.figures(self.records.decisions(policy.job), lr)
        figures |= dict(job=policy.job, wait_ms=1e3 * policy.waited_s / T)
        if self.records.binary:
            difference = self.records.replay(policy.job)
            self.replayed += 1
            if difference:
                self.differences.append(policy.job)
                print(f"replayed otherwise: {difference}", flush=True)
        return {name: run[name] for name in ("final", "best", "V")} | figures


def parsed():
    parser = argparse.ArgumentParser(description="Trains workloads under `lrs serve`, and compares.")
    here = Path(__file__).resolve().parent
    parser.add_argument("--set", type=Path, default=here / "public", help="a folder with a workloads.py")
    parser.add_argument("--anchors", type=Path, help="its hand-tuned anchors; default: anchors.json in the folder")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--names", default="", help="only these workloads, separated by commas")
    parser.add_argument("--policies", default=DEFAULT, help=f"of {', '.join([*SERVICE, *OTHERS])}; default: {DEFAULT}")
    parser.add_argument("--scen", default=",".join(GIVEN), help="the scenarios; default: all")
    parser.add_argument("--binary", default="lrs", help="the program, to serve and to replay")
    parser.add_argument("--address", help="the gRPC address of a running server; default: one of its own")
    parser.add_argument("--no-replay", action="store_true", help="do not replay the service's runs")
    parser.add_argument("--compare-policy", metavar="FILE:CLASS", help="a policy of this process as one more arm")
    parser.add_argument("--out", type=Path, help="where to write the results as JSON")
    args = parser.parse_args()
    args.anchors = args.anchors or args.set / "anchors.json"
    args.arms, args.scenarios = args.policies.split(","), args.scen.split(",")
    args.compared = compared(args.compare_policy)
    args.arms += [arm for arm in args.compared if arm not in args.arms]
    for what, given, known in (("policy", args.arms, [*SERVICE, *OTHERS, *args.compared]),
                               ("scenario", args.scenarios, GIVEN)):
        for each in given:
            if each not in known:
                parser.error(f"there is no {what} {each!r}; there are: {', '.join(known)}")
    if args.seeds < 1:
        parser.error(f"--seeds is {args.seeds}; it must be at least 1")
    if not args.anchors.is_file():
        parser.error(f"there is no file of anchors {args.anchors}: README.md says how to make one")
    return args


def compared(file_and_class):
    """The policy class that `--compare-policy` names: {class name: class}."""
    if not file_and_class:
        return {}
    file, _, name = file_and_class.rpartition(":")
    if not Path(file).is_file():
        raise SystemExit(f"--compare-policy is {file_and_class!r}; it must be FILE:CLASS, and the file exist")
    return {name: getattr(harness.load("compared_policy", file), name)}


def main():
    args = parsed()
    anchors = json.loads(args.anchors.read_text())
    kinds = harness.workloads(args.set)
    names = args.names.split(",") if args.names else [kind.name for kind in kinds if kind.name in anchors]
    for kind in kinds:
        if kind.name not in anchors:
            print(f"{kind.name} is left out: {args.anchors} has no anchors of it")
    for name in names:
        if name not in anchors or name not in {kind.name for kind in kinds}:
            raise SystemExit(f"{name} is not both in {args.set} and in {args.anchors}")
    with contextlib.ExitStack() as stack:
        address = args.address or stack.enter_context(server.running(args.binary))
        records = server.Records(None if args.no_replay else args.binary, address)
        stack.callback(records.close)
        bench = Bench(address, records, args.compared)
        results = {}
        for kind in kinds:
            if kind.name not in names:
                continue
            workload, cells = kind(), results.setdefault(kind.name, {})
            for arm in args.arms:
                for scenario in args.scenarios:
                    started = time.monotonic()
                    cell = bench.cell(workload, anchors[kind.name], arm, scenario, args.seeds)
                    cells[f"{arm}/{scenario}"] = cell
                    ratio = cell["mean"] / anchors[kind.name]["best_value"]
                    print(f"{kind.name:20} {arm:12} {scenario:6} {ratio:8.3f} of the best hand-tuned, "
                          f"{time.monotonic() - started:.1f} s", flush=True)
            if args.out:
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json.dumps(results))
    anchors = {name: anchors[name] for name in results}
    tables.show(results, anchors, args.arms, args.scenarios)
    if not args.no_replay:
        print(f"\nreplayed {bench.replayed} runs, differences {len(bench.differences)}")
    line = tables.summary(results, anchors, args.arms)
    line |= dict(seeds=args.seeds, replayed=bench.replayed, differences=len(bench.differences))
    print(json.dumps(line), flush=True)
    if bench.differences:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
