"""Tunes the anchors of a set as a person would: finds the best peak rate for each shape of schedule.

The rates are a grid of half decades about the workload's `lr0`, widened while the best lies at its edge, then quarter
decades about the best. The best rate is chosen on the steering rows over seeds 0, 1, 2; the recorded score is on the
other rows.

  python anchors.py --set FOLDER --out ANCHORS.json [--names a,b]
"""
import argparse
import json
import time
from pathlib import Path

import numpy as np

import harness
from schedules import SHAPES

SEEDS = (0, 1, 2)
# The score of a diverged run in a mean.
WORST = 1e3
# Powers of ten by which lr0 is multiplied.
GRID, NARROWEST, WIDEST = np.arange(-2, 1.01, 0.5), -4, 3


def tune(workload, shape):
    tried = {}

    def attempt(exponent):
        exponent = round(exponent, 3)
        if exponent not in tried:
            lr = workload.lr0 * 10**exponent
            runs = [workload.run_open(seed, shape(workload.T, lr)) for seed in SEEDS]
            steering, scores = np.stack([run[1] for run in runs]), np.stack([run[2] for run in runs])[:, -1]
            tried[exponent] = dict(
                lr=lr, final=scores.tolist(), med=float(np.median(scores)), mean=capped_mean(scores),
                steer=capped_mean(steering[:, -1]), curve=np.median(steering, 0).tolist())
        return tried[exponent]

    def best():
        return min(tried, key=lambda exponent: tried[exponent]["steer"])

    for exponent in GRID:
        attempt(exponent)
    while True:
        if best() == min(tried) and best() > NARROWEST:
            attempt(best() - 0.5)
        elif best() == max(tried) and best() < WIDEST:
            attempt(best() + 0.5)
        else:
            break
    centre = best()
    attempt(centre - 0.25)
    attempt(centre + 0.25)
    grid = {str(e): {name: r[name] for name in ("lr", "steer", "mean")} for e, r in sorted(tried.items())}
    return dict(best=tried[best()], all=grid)


def capped_mean(values):
    return float(np.mean(np.minimum(values, WORST)))


def main():
    parser = argparse.ArgumentParser(description="Tunes the anchors of a set of workloads.")
    parser.add_argument("--set", required=True, help="a folder with a workloads.py")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--names", default="", help="only these workloads, separated by commas")
    args = parser.parse_args()
    anchors = {}
    for kind in harness.workloads(args.set):
        if args.names and kind.name not in args.names.split(","):
            continue
        started, workload = time.monotonic(), kind()
        tuned = {name: tune(workload, shape) for name, shape in SHAPES.items()}
        best = min(SHAPES, key=lambda name: tuned[name]["best"]["steer"])
        value = tuned[best]["best"]["mean"]
        anchors[kind.name] = tuned | dict(T=workload.T, eval_every=workload.eval_every, best_shape=best,
                                          best_value=value)
        args.out.write_text(json.dumps(anchors))
        rate = tuned[best]["best"]["lr"]
        print(f"{kind.name}: {best} at {rate:.3g} gives {value:.4f}, {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
