"""Trains workloads with the service and without it, in several scenarios, and prints the results. See README.md."""
import argparse
import contextlib
import json
import os
from pathlib import Path

import arms
import bars
import harness
import server
import tables
from interference import SCENARIOS

HERE = Path(__file__).resolve().parent
DEFAULT_SETS = "tuning,deciding"


def parsed():
    parser = argparse.ArgumentParser(description="Trains workloads under `lrs serve`, and compares.")
    parser.add_argument("--set", default=DEFAULT_SETS,
                        help=f"folders with a workloads.py, here or elsewhere; default: {DEFAULT_SETS}")
    parser.add_argument("--anchors", type=Path, help="hand-tuned anchors; default: anchors.json in each folder")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--names", default="", help="only these workloads, separated by commas")
    parser.add_argument("--lengths", default="", help="only workloads of these numbers of steps, separated by commas")
    parser.add_argument("--policies", default=",".join(arms.DEFAULT),
                        help=f"of {', '.join([*arms.SERVICE, *arms.OTHERS])}; default: {','.join(arms.DEFAULT)}")
    parser.add_argument("--scen", default="", help=f"of {', '.join(SCENARIOS)}; default: what README.md says")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="trainings at a time")
    parser.add_argument("--binary", default="lrs", help="the program, to serve and to replay")
    parser.add_argument("--address", help="the gRPC address of a running server; default: one of its own")
    parser.add_argument("--no-replay", action="store_true", help="do not replay the service's runs")
    parser.add_argument("--compare-policy", metavar="FILE:CLASS", help="a policy of this process as one more arm")
    parser.add_argument("--out", type=Path, help="where to write the results as JSON")
    args = parser.parse_args()
    args.arms = args.policies.split(",")
    args.scenarios = args.scen.split(",") if args.scen else None
    compared = arms.compared(args.compare_policy)
    args.arms += [arm for arm in compared if arm not in args.arms]
    for what, given, known in (("policy", args.arms, [*arms.SERVICE, *arms.OTHERS, *compared]),
                               ("scenario", args.scenarios or [], SCENARIOS)):
        for each in given:
            if each not in known:
                parser.error(f"there is no {what} {each!r}; there are: {', '.join(known)}")
    for what in ("seeds", "jobs"):
        if getattr(args, what) < 1:
            parser.error(f"--{what} is {getattr(args, what)}; it must be at least 1")
    return args


def chosen(args):
    """The folder of each chosen workload by its name, and the anchors of all."""
    folders, anchors, kinds = {}, {}, {}
    for each in args.set.split(","):
        folder = HERE / each if (HERE / each / "workloads.py").is_file() else Path(each)
        file = args.anchors or folder / "anchors.json"
        if not file.is_file():
            raise SystemExit(f"there is no file of anchors {file}: README.md says how to make one")
        known = json.loads(file.read_text())
        for kind in harness.workloads(folder):
            if kind.name in known:
                folders[kind.name], anchors[kind.name], kinds[kind.name] = folder, known[kind.name], kind
            else:
                print(f"{kind.name} is left out: {file} has no anchors of it")
    names = args.names.split(",") if args.names else list(kinds)
    for name in names:
        if name not in kinds:
            raise SystemExit(f"{name} is not both in {args.set} and in its anchors")
    lengths = {int(each) for each in args.lengths.split(",") if each}
    names = [name for name in names if not lengths or kinds[name].T in lengths]
    if not names:
        raise SystemExit(f"no workload of {args.set} has a length of {args.lengths}")
    return {name: folders[name] for name in names}, {name: anchors[name] for name in names}


def main():
    args = parsed()
    folders, anchors = chosen(args)
    results, replayed, differences = {name: {} for name in folders}, 0, []
    with contextlib.ExitStack() as stack:
        address = args.address or stack.enter_context(server.running(args.binary))
        settings = arms.Settings(address, None if args.no_replay else args.binary, args.seeds, args.compare_policy)
        tasks = [arms.Task(folder, name, anchors[name], arm, arms.scenarios(arm, args.scenarios))
                 for name, folder in folders.items() for arm in args.arms]
        for task, done in arms.carried_out(tasks, settings, args.jobs):
            results[task.name] |= done.cells
            replayed += done.replayed
            differences += done.differences
            if args.out:
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json.dumps(results))
    run = {key.partition("/")[2] for cells in results.values() for key in cells}
    scenarios = [each for each in SCENARIOS if each in run]
    tables.show(results, anchors, args.arms, scenarios)
    found = bars.bars(results, anchors, args.arms)
    bars.show(found)
    if not args.no_replay:
        print(f"\nreplayed {replayed} runs, differences {len(differences)}")
    line = tables.summary(results, anchors, args.arms) | dict(bars=found)
    line |= dict(seeds=args.seeds, replayed=replayed, differences=len(differences))
    print(json.dumps(line), flush=True)
    if differences:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
