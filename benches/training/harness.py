"""Trains a workload under a policy, and finds the workloads of a folder."""
import importlib.util
import math
import sys
from pathlib import Path

from interference import Scenario

HERE = Path(__file__).resolve().parent


def run(workload, make_policy, lr0, seed, disturbances=None):
    """Runs all steps of a workload.

    `make_policy(T, lr0, eval_every)` makes the policy (see policies.py), `disturbances` are those of interference.py.
    -> dict(final: the score, best: the best evaluation, V: steps and evaluations after
    them, lrs: the rates used, pol: the policy)
    """
    d = disturbances or Scenario().disturbances(workload, seed, scatter=0.0)
    workload.init(seed)
    policy = make_policy(workload.T, lr0, d.eval_every)
    # A policy that can give several acts for a step, and gives one unless asked.
    if hasattr(policy, "takes_acts"):
        policy.takes_acts = True
    copies, evaluations, rates, kills, checkpoint = {}, {}, {}, list(d.kills), None
    try:
        k = 0
        while k < workload.T:
            if d.checkpoint_every and k % d.checkpoint_every == 0:
                checkpoint = k, workload.snapshot(), policy.checkpoint()
            if kills and k == kills[0]:
                kills.pop(0)
                copies.clear()
                k, state, saved = checkpoint
                workload.restore(state)
                policy.restart(k, saved)
            rates[k] = train(workload, policy, k, d, copies)
            if (k + 1) % d.eval_every == 0:
                evaluations[k] = d.evaluated(workload.eval())
                policy.observe_val(k, evaluations[k])
            k += 1
    finally:
        if hasattr(policy, "close"):
            policy.close()
    return dict(final=workload.score(), best=min(evaluations.values()), lrs=[rates[k] for k in sorted(rates)],
                V=[(k + 1, evaluations[k]) for k in sorted(evaluations)], pol=policy)


def train(workload, policy, k, d, copies):
    """Trains a step, and tells the policy; -> the rate used."""
    directive = policy.next(k)
    for act in acts_of(directive):
        carry_out(act, workload, copies)
    bounds = {name: directive[name] for name in ("clip", "skip_above") if name in directive}
    loss, grad_norm, extra = workload.step(directive["lr"], d.factors.get(k, 1.0), **bounds)
    if k in d.nan_losses:
        loss = math.nan
    if k in d.skipped:
        extra = extra | dict(skipped=True)
    policy.observe(k, loss, grad_norm, extra)
    return directive["lr"]


def acts_of(directive):
    """All acts of a directive, in order."""
    if "acts" in directive:
        return directive["acts"]
    return [directive["act"]] if directive["act"] else []


def carry_out(act, workload, copies):
    match act:
        case ("snap", name):
            copies[name] = workload.snapshot()
        case ("restore", name):
            workload.restore(copies[name])
        case ("copy", name, to):
            copies[to] = copies[name]
        case _:
            raise ValueError(f"a policy wants {act!r} done, which is none of snap, restore and copy")


def workloads(folder):
    """The workload classes in the list ALL of the folder's `workloads.py`.

    Its import `engine` is the file beside it if there is one, else ours.
    """
    folder = Path(folder).resolve()
    path = folder / "workloads.py"
    if not path.is_file():
        raise SystemExit(f"{folder} is no set of workloads: it has no workloads.py")
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    if (folder / "engine.py").is_file():
        load("engine", folder / "engine.py")
    # Loaded as a package, so that its modules may import each other.
    package = importlib.util.module_from_spec(importlib.util.spec_from_loader("training_set", None, is_package=True))
    package.__path__ = [str(folder)]
    sys.modules["training_set"] = package
    return load("training_set.workloads", path).ALL


def load(name, path):
    """Loads the Python file as a module with this name."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
