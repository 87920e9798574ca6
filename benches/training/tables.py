"""Prints the results of a benchmark as tables and as one line."""
import math

from interference import INTERFERENCE, SCENARIOS

# A diverged run counts as this many times the best.
CAP = 10.0
# Arms of the service and their names in the line; the line itself is for the first arm.
LINE = dict(lrs_lag8="lag8", lrs_lag32="lag32", lrs_tier1="tier1", lrs_tier0="tier0")


def show(results, anchors, arms, scenarios):
    """Prints all tables, in Markdown."""
    for scenario in scenarios:
        print(f"\n{scenario}: score / best hand-tuned (steps to the best constant's final loss)\n")
        run = [arm for arm in arms if has(results, arm, [scenario])]
        table(run, results, lambda name, arm: score_and_steps(results, anchors, name, arm, scenario))
    peers = [peer for each in anchors.values() for peer in each.get("peers", {})]
    if peers:
        print("\nother authors' optimizers: score / best hand-tuned (the best of three rates)\n")
        table(list(dict.fromkeys(peers)), results, lambda name, peer: peer_and_rate(anchors, name, peer))
    for arm in arms:
        both = [each for each in scenarios if has(results, arm, [each]) and has(results, "const", [each])]
        if arm != "const" and both:
            print(f"\n{arm}: score / that of the rate given, kept throughout\n")
            table(both, results, lambda name, scenario: ratio(results, name, (arm, scenario), ("const", scenario)))
    for arm in arms:
        faulty = [scenario for scenario in scenarios if scenario in INTERFERENCE and has(results, arm, [scenario])]
        if faulty and has(results, arm, ["m1"]):
            print(f"\n{arm}: score / that of its own undisturbed run\n")
            table(faulty, results, lambda name, scenario: ratio(results, name, (arm, scenario), (arm, "m1")))
    for arm in arms:
        cells = [cell for each in results.values() for key, cell in each.items() if key.startswith(f"{arm}/")]
        if all("search_steps" in cell for cell in cells):
            print(f"\n{arm}: share of the steps spent in the search, and the rates found / the rate given\n")
            searched = [scenario for scenario in scenarios if has(results, arm, [scenario])]
            table(searched, results, lambda name, scenario: search(results, anchors, name, arm, scenario))
            waits = [wait for cell in cells for wait in cell["wait_ms"]]
            print(f"\nwaiting for directives: {sum(waits) / len(waits):.2f} ms a step, at most "
                  f"{max(waits):.2f} ms in a run's mean")


def summary(results, anchors, arms):
    """The line: the figures of the arm `lrs`, then those of the other arms by name."""
    line = dict(bench="training")
    line |= {scenario: overall(results, anchors, "lrs", scenario) for scenario in SCENARIOS}
    for arm in arms:
        if arm != "lrs":
            of = {scenario: overall(results, anchors, arm, scenario) for scenario in SCENARIOS}
            line[LINE.get(arm, arm)] = {scenario: each for scenario, each in of.items() if each}
    return line


def overall(results, anchors, arm, scenario):
    """Geometric mean and worst of score / best tuned; for faults also of score / own undisturbed. None if not run."""
    scores = [ratio_to_best(results, anchors, name, arm, scenario) for name in results]
    if None in scores:
        return None
    out = dict(geomean=rounded(geomean(scores)), worst=rounded(max(scores)))
    own = [ratio(results, name, (arm, scenario), (arm, "m1")) for name in results]
    if scenario in INTERFERENCE and None not in own:
        out |= dict(own_geomean=rounded(geomean(own)), own_worst=rounded(max(own)))
    return out


def table(columns, results, value):
    """A row for each workload; if the values are numbers, also rows with their geometric mean and their worst."""
    print("| workload | " + " | ".join(columns) + " |")
    print("|---|" + "---|" * len(columns))
    numbers = {column: [] for column in columns}
    for name in results:
        texts = []
        for column in columns:
            number = value(name, column)
            number, text = number if isinstance(number, tuple) else (number, "")
            if number is not None:
                numbers[column].append(number)
            texts.append(f"{shown(number)} {text}".strip())
        print(f"| {name} | " + " | ".join(texts) + " |")
    for title, of in (("geometric mean", geomean), ("worst", max)):
        print(f"| {title} | " + " | ".join(shown(of(each)) if each else "" for each in numbers.values()) + " |")


def peer_and_rate(anchors, name, peer):
    found = anchors[name].get("peers", {}).get(peer)
    if not found:
        return None
    rate = f"({found['lr']:.3g})" if peer.endswith("_best") else ""
    return min(found["mean"] / anchors[name]["best_value"], CAP), rate


def score_and_steps(results, anchors, name, arm, scenario):
    cell = results[name][f"{arm}/{scenario}"]
    # The median over seeds; a target that was never reached counts as later than any step.
    steps = sorted(each or math.inf for each in cell["steps_to_target"])[len(cell["steps_to_target"]) // 2]
    return ratio_to_best(results, anchors, name, arm, scenario), f"({steps if steps < math.inf else 'never'})"


def search(results, anchors, name, arm, scenario):
    cell = results[name][f"{arm}/{scenario}"]
    T = anchors[name]["T"]
    if None in cell["search_steps"]:
        return None, "never over"
    found = " ".join("-" if each is None else f"{each:.3g}" for each in cell["found"])
    # A share of 0 becomes `none`, because numbers with a 0 among them have no geometric mean.
    share = sum(cell["search_steps"]) / len(cell["search_steps"]) / T
    return (share, f"({found})") if share else (None, "none")


def ratio_to_best(results, anchors, name, arm, scenario):
    cell = results[name].get(f"{arm}/{scenario}")
    return cell and min(cell["mean"] / anchors[name]["best_value"], CAP)


def ratio(results, name, above, below):
    """The ratio of the scores of two (arm, scenario); None if one was not run."""
    above, below = (results[name].get("/".join(each)) for each in (above, below))
    return above and below and min(above["mean"] / below["mean"], CAP)


def has(results, arm, scenarios):
    return all(f"{arm}/{scenario}" in each for each in results.values() for scenario in scenarios)


def geomean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def shown(value):
    return "" if value is None else f"{value:.3f}" if value < CAP else ">10"


def rounded(value):
    return round(value, 4)
