"""fastai's schedules of the learning rate in the words of a job file."""

from __future__ import annotations

from typing import Any, Final

from lrs.errors import UsageError

#: fastai's annealers that a job file has words for.
_SHAPES: Final = {"sched_lin": "linear", "sched_cos": "cosine"}


def schedule_of(curve: Any, updates: float, done: int) -> tuple[list[float], dict[str, Any]]:  # noqa: ANN401
    """The schedule of a `ParamScheduler`'s curve, and its peak in each parameter group.

    Args:
        curve: An annealer, or what `combine_scheds` returns.
        updates: How many updates it spans.
        done: How many updates were made before it begins.

    Raises:
        UsageError: If a job file has no words for it.
    """
    kept = _closure(curve)
    pieces, ends = (kept["scheds"], [float(pct) for pct in kept["pcts"]]) if "scheds" in kept else ([curve], [0.0, 1.0])
    levels = [_numbers(level) for piece in pieces for level in (_kept(piece, "start"), _kept(piece, "end"))]
    groups = max(len(level) for level in levels)
    levels = [level * (groups if len(level) == 1 else 1) for level in levels]
    peaks = [max(level[group] for level in levels) for group in range(groups)]
    shares = [[value / peak if peak else 0.0 for value, peak in zip(level, peaks, strict=True)] for level in levels]
    if any(abs(share - group[0]) > 1e-9 for group in shares for share in group):
        raise UsageError("The groups of this `fit` have curves of different forms: give the callback `schedule=…`.")
    parts = [
        _part(piece, shares[2 * at][0], shares[2 * at + 1][0], (ends[at + 1] - ends[at]) * updates)
        for at, piece in enumerate(pieces)
    ]
    # fastai keeps the shares in single precision.
    places = [round(end * updates, 4) for end in ends[1:-1]]
    boundaries = [done + (round(place) if abs(place - round(place)) < 1e-3 else place) for place in places]
    if done:
        # What was trained before has no rate of this curve.
        boundaries, parts = [float(done), *boundaries], [{"base": shares[0][0]}, *parts]
    return peaks, parts[0] if len(parts) == 1 else {"seq": {"boundaries": boundaries, "parts": parts}}


def _part(piece: Any, start: float, end: float, over: float) -> dict[str, Any]:  # noqa: ANN401
    kind = getattr(_kept(piece, "f"), "__name__", "")
    if kind == "sched_no" or start == end:
        return {"base": start}
    if kind == "sched_exp" and start > 0 and end > 0:
        return {"geometric": {"value": {"base": start}, "rate": end / start, "every": over}}
    if kind not in _SHAPES:
        raise UsageError(
            f"The schedule of `fit` has a {kind or type(piece).__name__}, which a job file has no words for, and this "
            "callback sets the rates in its place. Give the callback `schedule=…`, or call `fit` without a schedule."
        )
    return {"ease": {"start": {"base": start}, "end": {"base": end}, "over": over, "shape": {_SHAPES[kind]: {}}}}


def _kept(piece: object, name: str) -> Any:  # noqa: ANN401
    return getattr(piece, name, _closure(piece).get(name, 0.0))


def _closure(function: object) -> dict[str, Any]:
    """What a function keeps, by name."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    cells = getattr(function, "__closure__", None) or ()
    return {name: cell.cell_contents for name, cell in zip(names, cells, strict=True)}


def _numbers(level: Any) -> list[float]:  # noqa: ANN401 (a number, or one for each group)
    try:
        return [float(number) for number in level]
    except TypeError:
        return [float(level)]
