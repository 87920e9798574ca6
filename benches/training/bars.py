"""The bars that the closed loop is held to, in the line at a benchmark's end.

Never worse: at the right rate, undisturbed or in any scenario of interference, the service is compared with the same
rate under cosine with warm-up. With a wrong rate it is compared with the best hand-tuned anchor where a search can pay
(tier 2, at least 1,000 steps), else with the same rate under cosine. Beyond the peers: with other authors' optimizers.
"""
from typing import NamedTuple

from interference import INTERFERENCE, SCENARIOS, WRONG_RATES
from tables import CAP, geomean, rounded

# (geometric mean, worst)
NEVER_WORSE, FOUND = (1.00, 1.05), (1.04, 1.12)
SEARCH_PAYS_FROM = 1000
TIERS = dict(lrs=2, lrs_lag8=2, lrs_lag32=2, lrs_tier1=1, lrs_tier0=0)
LAGS = ("lrs", "lrs_lag8", "lrs_lag32")


class Row(NamedTuple):
    """A comparison: of an arm's score in a scenario, with that of `against`: "cosine", "anchor" or a peer."""

    arm: str
    workload: str
    T: int
    scenario: str
    against: str
    ratio: float


def ratios(results, anchors, arms):
    found = []
    for name, cells in results.items():
        T = anchors[name]["T"]
        for arm in TIERS:
            for scenario in SCENARIOS:
                cell = cells.get(f"{arm}/{scenario}") if arm in arms else None
                against, reference = "cosine", cells.get(f"cosine/{SCENARIOS[scenario].as_open or scenario}")
                if scenario in WRONG_RATES and TIERS[arm] == 2 and T >= SEARCH_PAYS_FROM:
                    against, reference = "anchor", dict(mean=anchors[name]["best_value"])
                if cell and reference:
                    ratio = min(cell["mean"] / reference["mean"], CAP)
                    found.append(Row(arm, name, T, scenario, against, ratio))
    return found


def bars(results, anchors, arms):
    """All bars as one object."""
    every = ratios(results, anchors, arms)
    mine = [row for row in every if row.arm == "lrs"]
    right = [row for row in mine if row.scenario == "m1"]
    return dict(
        right=verdict(right, NEVER_WORSE),
        **wrong(mine),
        wrong_by_rate={each: wrong(row for row in mine if row.scenario == each) for each in WRONG_RATES},
        interference={each: verdict([row for row in mine if row.scenario == each], NEVER_WORSE)
                      for each in INTERFERENCE},
        by_length={T: both(row for row in mine if row.T == T) for T in sorted({row.T for row in mine})},
        by_arm={arm: both(row for row in every if row.arm == arm) for arm in TIERS if arm in arms},
        peers=peers(results, anchors, arms))


def both(rows):
    rows = list(rows)
    return dict(right=verdict([row for row in rows if row.scenario == "m1"], NEVER_WORSE)) | wrong(rows)


def wrong(rows):
    """The bars of wrong rates: where a search can pay, and where it cannot."""
    rows = [row for row in rows if row.scenario in WRONG_RATES]
    return dict(wrong=verdict([row for row in rows if row.against == "anchor"], FOUND),
                wrong_trusted=verdict([row for row in rows if row.against == "cosine"], NEVER_WORSE))


def peers(results, anchors, arms):
    """The service at the right rate over each peer, by lag: below 1 it is ahead."""
    out = {}
    for arm in LAGS:
        for name, cells in results.items():
            for peer, reached in anchors[name].get("peers", {}).items():
                if arm in arms and f"{arm}/m1" in cells:
                    ratio = min(cells[f"{arm}/m1"]["mean"] / reached["mean"], CAP)
                    row = Row(arm, name, anchors[name]["T"], "m1", peer, ratio)
                    out.setdefault(arm, {}).setdefault(peer, []).append(row)
    goals = {True: (1.0, CAP), False: (1.0, 1.0)}
    return {arm: {peer: verdict(rows, goals[peer.endswith("_best")]) for peer, rows in of.items()}
            for arm, of in out.items()}


def verdict(rows, goal):
    """A bar's figures; None if none of it was run."""
    if not rows:
        return None
    worst, mean = max(rows, key=lambda row: row.ratio), geomean([row.ratio for row in rows])
    return dict(geomean=rounded(mean), worst=rounded(worst.ratio), of=f"{worst.workload}/{worst.arm}/{worst.scenario}",
                goal=list(goal), met=mean <= goal[0] and worst.ratio <= goal[1], cells=len(rows))


def show(found):
    """Prints the bars as a table."""
    print("\nbars: geometric mean / worst, and the worst's workload, arm and scenario\n")
    print("| bar | geometric mean | worst | goal | met | where |\n|---|---|---|---|---|---|")
    for title, bar in flat(found):
        if bar:
            goal = f"{bar['goal'][0]:.2f} / {bar['goal'][1]:.2f}"
            print(f"| {title} | {bar['geomean']:.3f} | {bar['worst']:.3f} | {goal} | {'yes' if bar['met'] else 'no'} | "
                  f"{bar['of']} |")


def flat(found, path=""):
    for name, each in found.items():
        title = f"{path} {name}".strip()
        if isinstance(each, dict) and "geomean" not in each:
            yield from flat(each, title)
        else:
            yield title, each
