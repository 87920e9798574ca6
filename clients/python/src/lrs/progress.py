"""Progress bars that show the learning rate and what happens to it, with tqdm or rich.

What is watched is a run of `lrs.init`, an `lrs.Scheduler`, or a library's scheduler or callback of this package.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sized
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from lrs.errors import UsageError
from lrs.overview import Overview

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.progress import ProgressColumn

__all__ = ["postfix", "rich_column", "track"]

#: How often a bar is given new words, in seconds.
_INTERVAL: Final = 0.1

_Item = TypeVar("_Item")


def postfix(watched: object) -> dict[str, str]:
    """The rate and the phase in words, for a bar of your own: `bar.set_postfix(postfix(scheduler))`.

    `lr` is the first group's rate for the next step, and `phase` is what happens to it; see `Overview.phase`. Both are
    `-` as long as there is no scheduler.
    """
    overview = _overview(watched)
    if overview is None:
        return {"lr": "-", "phase": "-"}
    known = overview.known_rates
    return {"lr": f"{known[0]:.3g}" if known else "-", "phase": overview.phase}


def rich_column(watched: object) -> ProgressColumn:
    """A column for `rich.progress.Progress` that shows the rate and the phase."""
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(_line(watched), style="progress.remaining")

    return RateColumn()


def track(
    iterable: Iterable[_Item],
    watched: object,
    *,
    description: str = "",
    total: float | None = None,
    library: Literal["tqdm", "rich"] | None = None,
) -> Iterator[_Item]:
    """Iterate with a progress bar that shows the rate and the phase.

    Args:
        iterable: For example, the batches of an epoch.
        watched: See the module.
        description: What stands before the bar.
        total: How many items there are. Default: the length of `iterable`, if it has one.
        library: `"tqdm"` or `"rich"`. Default: the first of them that is installed; without either there is no bar.

    Raises:
        UsageError: If `library` is none of these, or is not installed.
    """
    if library not in (None, "tqdm", "rich"):
        raise UsageError(f"library must be 'tqdm' or 'rich', and was {library!r:.60}.")
    if library is not None and importlib.util.find_spec(library) is None:
        raise UsageError(f"library={library!r} needs {library}: `pip install {library}`.")
    chosen = library or next((name for name in ("tqdm", "rich") if importlib.util.find_spec(name)), None)
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if chosen == "tqdm":
        return _with_tqdm(iterable, watched, description, total)
    if chosen == "rich":
        return _with_rich(iterable, watched, description, total)
    return iter(iterable)


def _with_tqdm(iterable: Iterable[_Item], watched: object, description: str, total: float | None) -> Iterator[_Item]:
    from tqdm.auto import tqdm

    bar: Any = tqdm(total=total, desc=description or None)
    due = 0.0
    with bar:
        for item in iterable:
            yield item
            now = time.monotonic()
            if now >= due:
                due = now + _INTERVAL
                bar.set_postfix(postfix(watched), refresh=False)
            bar.update()
        bar.set_postfix(postfix(watched))


def _with_rich(iterable: Iterable[_Item], watched: object, description: str, total: float | None) -> Iterator[_Item]:
    from rich.progress import MofNCompleteColumn, Progress

    columns = [*Progress.get_default_columns(), MofNCompleteColumn(), rich_column(watched)]
    with Progress(*columns) as bar:
        yield from bar.track(iterable, total=total, description=description)


def _line(watched: object) -> str:
    return " ".join(f"{name}={value}" for name, value in postfix(watched).items())


def _overview(watched: object) -> Overview | None:
    """The scheduler behind an object of this package."""
    while watched is not None and not isinstance(watched, Overview):
        for name in ("core", "scheduler"):
            if hasattr(watched, name):
                watched = getattr(watched, name)
                break
        else:
            raise UsageError(
                f"A progress bar watches a run, a scheduler or a callback of lrs, and not {watched!r:.60}."
            )
    return watched
