"""The examples run, and the README quotes them."""

import difflib
import sys
from pathlib import Path

import pytest

import lrs
from processes import python_of, run_command

EXAMPLES = Path(__file__).parents[1] / "examples"
README = Path(__file__).parents[3] / "README.md"

JOBS = {
    "plain_loop": ("examples/plain-loop", 300),
    "transformers_trainer": ("examples/transformers", 64),
    "lightning_trainer": ("examples/lightning", 64),
    "accelerate_loop": ("examples/accelerate", 64),
    "jax_optax": ("examples/jax", 200),
    "keras_fit": ("examples/keras", 104),
    "digits_cnn": ("demo/digits", 360),
    "fastai_learner": ("examples/fastai", 64),
    "composer_trainer": ("examples/composer", 64),
    "deepspeed_engine": ("examples/deepspeed", 64),
    "megatron_loop": ("examples/megatron", 64),
    "trl_lora": ("examples/trl", 64),
    "ray_train": ("examples/ray", 64),
}


STUDIES = ["optuna_study", "vizier_study"]


def run(example, server, python=sys.executable):
    # A group of workers of Ray takes a minute to start on two idle cores.
    return run_command([python, EXAMPLES / f"{example}.py"], timeout=600, LRS_SERVER=server.url)


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*JOBS, *STUDIES, "digits_plain", "katib_trial"}


@pytest.mark.parametrize("example", JOBS)
def test_an_example_trains_and_is_on_record(server, example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(example, server)
    job, steps = JOBS[example]
    losses = list(server.record(job)["loss"].values())
    assert len(losses) == steps
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_the_study_with_optuna_finds_a_rate_and_validates_it(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("optuna_study", server)
    assert "15 trials complete, 0 pruned" in done.stdout, "nobody advised any of them to stop"
    for seed in range(100, 103):
        final = {}
        for kind in ("scheduled", "baseline"):
            losses = list(server.record(f"examples/study-validation-{kind}-{seed}")["loss"].values())
            assert len(losses) == 1000
            final[kind] = sum(losses[-100:]) / 100
        assert final["scheduled"] < 0.5, "a study that found no rate that trains"


def test_the_study_with_vizier_finds_a_rate(server, tmp_path, monkeypatch):
    # Vizier needs a JAX that is years older than that of the other tests, so it has an environment of its own.
    python = python_of("requirements-vizier.txt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(lrs.__file__).parents[1]))
    done = run("vizier_study", server, python)
    best = done.stdout.split("examples/jobs/")[-1].strip()
    losses = list(server.record(f"examples/{best}")["loss"].values())
    assert len(losses) == 500
    assert losses[-1] < 0.5 * losses[0]


def test_the_readme_shows_the_ten_lines_that_make_the_plain_loop_a_scheduled_one():
    plain, scheduled = ((EXAMPLES / f"{name}.py").read_text().splitlines() for name in ("digits_plain", "digits_cnn"))
    difference = list(difflib.unified_diff(plain, scheduled, n=3, lineterm=""))[2:]
    assert "```diff\n" + "\n".join(difference) + "\n```\n" in README.read_text()
    assert sum(line.startswith("+") for line in difference) == 10
    assert sum(line.startswith("-") for line in difference) == 1
