"""Progress bars of the real tqdm and rich."""

import io

import pytest
import rich.console
import torch
from rich.progress import Progress
from tqdm import tqdm

import lrs
import lrs.progress
import lrs.torch
from processes import run
from server import wait_for


def searching(server, job, **arguments):
    """A scheduler of a job whose controller `auto` searches for the rate from the first step on."""
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), lr=0.1)
    model = torch.nn.Linear(2, 1)
    return lrs.torch.LRScheduler(
        optimizer, job, server=server.url, model=model, controller="auto", total_steps=4000, deadline=20.0, **arguments
    )


@pytest.mark.parametrize("library", ["tqdm", "rich"])
def test_the_bar_of_a_run_shows_the_rate_and_what_the_controller_does(server, job, library, monkeypatch, capfd):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with lrs.init(job, server=server.url) as training:
        scheduler = searching(server, training.job)
        for step in training.progress(range(3000), description="epoch 1", library=library):
            scheduler.step(1.0 / (1.0 + step))
            if training.postfix()["phase"] == "searching" and step >= 30:
                break
        shown = f"{scheduler.core.learning_rate:.3g}"
        assert training.postfix() == {"lr": shown, "phase": "searching"}
        for _ in training.progress([0], description="epoch 2", library=library):
            pass
    out, err = capfd.readouterr()
    said = err if library == "tqdm" else out
    assert "epoch 1" in said
    assert f"lr={shown}" in said.partition("epoch 2")[2]
    assert "phase=searching" in said.partition("epoch 2")[2]


def test_bars_of_the_users_own(server, job):
    with lrs.Scheduler(job, server=server.url, groups=0.25, total_steps=100, deadline=20.0) as scheduler:
        assert lrs.progress.postfix(scheduler)["lr"] == "0.25"
        scheduler.step(1.0)
        text = io.StringIO()
        with tqdm(total=10, file=text) as bar:
            bar.set_postfix(lrs.progress.postfix(scheduler))
        assert "lr=0.25, phase=scheduled" in text.getvalue()
        console = rich.console.Console(file=io.StringIO(), width=120, force_terminal=True)
        with Progress(lrs.progress.rich_column(scheduler), console=console) as bar:
            bar.add_task("train", total=3)
            bar.refresh()
        assert "lr=0.25 phase=scheduled" in console.file.getvalue()
        with pytest.raises(lrs.UsageError, match="and not 7"):
            lrs.progress.postfix(7)


def test_the_bar_says_that_the_server_is_away_and_back(own_server, job):
    with lrs.Scheduler(job, server=own_server.url, groups=0.1, controllers="auto", total_steps=10_000) as scheduler:

        def phase_after_a_step():
            scheduler.step(1.0)
            return lrs.progress.postfix(scheduler)["phase"]

        wait_for("the first directive", lambda: phase_after_a_step() not in ("away", "waiting"))
        own_server.pause()
        wait_for("the bar to say so", lambda: phase_after_a_step() == "away")
        own_server.go_on()
        wait_for("the service", lambda: phase_after_a_step() != "away")


def test_a_run_without_a_scheduler_has_a_bar(server, job):
    training = lrs.init(job, server=server.url)
    assert training.postfix() == {"lr": "-", "phase": "-"}
    assert list(training.progress(iter("ab"), library="tqdm")) == ["a", "b"]
    with pytest.raises(lrs.UsageError, match="'tqdm' or 'rich'"):
        training.progress([], library="curses")


def test_without_both_libraries_there_is_no_bar(server, job):
    done = run(
        "import sys; sys.modules['tqdm'] = sys.modules['rich'] = None\n"
        "import importlib.util, lrs, lrs.progress\n"
        "importlib.util.find_spec = lambda name: None\n"
        "training = lrs.init(sys.argv[1], server=sys.argv[2])\n"
        "print(list(training.progress('ab')))\n"
        "try:\n    training.progress('ab', library='rich')\nexcept lrs.UsageError as problem:\n    print(problem)\n",
        job,
        server.url,
    )
    assert done.stdout.splitlines() == ["['a', 'b']", "library='rich' needs rich: `pip install rich`."]
