"""Tunes the anchors of a set as a person would: finds the best peak rate for each shape of schedule.

The rates are a grid of half decades about the workload's `lr0`, widened while the best lies at its edge, then quarter
decades about the best. A workload may have a `grid` and `shapes` of its own; then there are no quarter decades. The
best rate is chosen on the steering rows over seeds 0, 1, 2; the recorded score is on the other rows.

  python anchors.py --set FOLDER --out ANCHORS.json [--names a,b] [--peers]

Workloads that the file already has stay as they are, unless they are named. `--peers` adds what other authors'
optimizers reach (peers.py).
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
            tried[exponent] = figures(lr, [workload.run_open(seed, shape(workload.T, lr)) for seed in SEEDS])
        return tried[exponent]

    def best():
        return min(tried, key=lambda exponent: tried[exponent]["steer"])

    for exponent in getattr(workload, "grid", GRID):
        attempt(exponent)
    while True:
        if best() == min(tried) and best() > NARROWEST:
            attempt(best() - 0.5)
        elif best() == max(tried) and best() < WIDEST:
            attempt(best() + 0.5)
        else:
            break
    if not hasattr(workload, "grid"):
        centre = best()
        attempt(centre - 0.25)
        attempt(centre + 0.25)
    grid = {str(e): {name: r[name] for name in ("lr", "steer", "mean")} for e, r in sorted(tried.items())}
    return dict(best=tried[best()], all=grid)


def figures(lr, runs):
    """The figures of a rate's runs."""
    steering = np.minimum(np.stack([run[1] for run in runs]), WORST)
    scores = np.minimum([run[2][-1] for run in runs], WORST)
    return dict(lr=lr, final=scores.tolist(), med=float(np.median(scores)), mean=float(np.mean(scores)),
                steer=float(np.mean(steering[:, -1])), curve=np.round(np.median(steering, 0), 6).tolist(),
                scatter=float(np.median([scatter(curve) for curve in steering])))


def scatter(curve):
    """The standard deviation of an evaluation about its trend, from the second half of a run."""
    late = np.asarray(curve)[len(curve) // 2 :]
    bends = late[1:-1] - (late[:-2] + late[2:]) / 2
    return 1.4826 * np.median(np.abs(bends - np.median(bends))) / np.sqrt(1.5) if len(bends) else 0.0


def anchors_of(workload):
    shapes = {name: SHAPES[name] for name in getattr(workload, "shapes", SHAPES)}
    tuned = {name: tune(workload, shape) for name, shape in shapes.items()}
    best = min(shapes, key=lambda name: tuned[name]["best"]["steer"])
    return tuned | dict(T=workload.T, eval_every=workload.eval_every, best_shape=best,
                        best_value=tuned[best]["best"]["mean"])


def peers_of(workload, anchors):
    from peers import PEERS, measured  # PyTorch: not for workloads over JAX

    scheduled = anchors["cosine"]["best"]["lr"]
    return {name: measured(workload, peer, scheduled, SEEDS, figures) for name, peer in PEERS.items()}


def main():
    parser = argparse.ArgumentParser(description="Tunes the anchors of a set of workloads.")
    parser.add_argument("--set", required=True, help="a folder with a workloads.py")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write, or to add to")
    parser.add_argument("--names", default="", help="only these workloads, separated by commas")
    parser.add_argument("--peers", action="store_true", help="add what other authors' optimizers reach")
    args = parser.parse_args()
    anchors = json.loads(args.out.read_text()) if args.out.is_file() else {}
    for kind in harness.workloads(args.set):
        if args.names and kind.name not in args.names.split(","):
            continue
        known = anchors.get(kind.name)
        if not args.names and known and (not args.peers or "peers" in known):
            continue
        started, workload = time.monotonic(), kind()
        if args.peers:
            if not known:
                raise SystemExit(f"{kind.name} has no anchors yet")
            known["peers"] = peers_of(workload, known)
        else:
            anchors[kind.name] = anchors_of(workload) | {k: v for k, v in (known or {}).items() if k == "peers"}
        args.out.write_text(json.dumps(anchors))
        entry = anchors[kind.name]
        said = (", ".join(f"{name} {each['mean'] / entry['best_value']:.3f}" for name, each in entry["peers"].items())
                if args.peers else f"{entry['best_shape']} at {entry[entry['best_shape']]['best']['lr']:.3g} gives "
                f"{entry['best_value']:.4f}")
        print(f"{kind.name}: {said}, {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
