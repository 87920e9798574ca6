"""A type checker rejects a misspelt keyword and a value of a wrong type. A misspelt keyword is an error at run time too."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import optuna
import pytest
import torch

import lrs
import lrs.accelerate
import lrs.jax
import lrs.keras
import lrs.lightning
import lrs.optuna
import lrs.study
import lrs.torch
import lrs.transformers

HEAD = """
import torch
from accelerate import Accelerator
import optuna
import lrs
import lrs.accelerate
import lrs.composer
import lrs.deepspeed
import lrs.fastai
import lrs.jax
import lrs.katib
import lrs.keras
import lrs.lightning
import lrs.megatron
import lrs.mlflow
import lrs.optuna
import lrs.ray
import lrs.study
import lrs.torch
import lrs.torchtitan
import lrs.transformers

def calls(optimizer: torch.optim.Optimizer, model: torch.nn.Module, accelerator: Accelerator, trial: optuna.Trial,
          engine: object) -> None:
"""

#: A call of each integration, ready for keywords.
CALLS = {
    "Scheduler": 'lrs.Scheduler("a/b", {})',
    "torch": 'lrs.torch.LRScheduler(optimizer, "a/b", {})',
    "accelerate": 'lrs.accelerate.LRScheduler(accelerator, optimizer, "a/b", {})',
    "transformers": 'lrs.transformers.LrsCallback("a/b", {})',
    "lightning": 'lrs.lightning.LrsCallback("a/b", {})',
    "keras": 'lrs.keras.LrsCallback("a/b", {})',
    "jax": 'lrs.jax.Scheduler("a/b", {})',
    "fastai": 'lrs.fastai.LrsCallback("a/b", {})',
    "composer": 'lrs.composer.LrsCallback("a/b", {})',
    "deepspeed": 'lrs.deepspeed.LRScheduler(engine, "a/b", {})',
    "megatron": 'lrs.megatron.OptimizerParamScheduler(optimizer, "a/b", {})',
    "torchtitan": 'lrs.torchtitan.LRSchedulers(engine, "a/b", {})',
    "ray": 'lrs.ray.LRScheduler(optimizer, "a/b", {})',
    "study": 'lrs.study.Study("a/b", {})',
    "a trial of a study": 'lrs.study.Study("a/b").options(7, {})',
    "optuna": 'lrs.optuna.TrialJobs("a/b", {})',
    "a trial of optuna": 'lrs.optuna.TrialJobs("a/b").options_of(trial, {})',
}

#: Wrong keywords, and mypy's message. For a method with overloads, mypy only says that no overload fits.
WRONG = {
    'controler="auto"': 'argument "controler"',
    "total_steps=[10]": 'argument "total_steps" .*has incompatible type "list',
    "schedule=5": 'argument "schedule" .*has incompatible type "int"',
    'require_server="yes"': 'argument "require_server" .*has incompatible type "str"',
    'steps_per_epoch="ten"': 'argument "steps_per_epoch" .*has incompatible type "str"',
    'deadline="1 s"': 'argument "deadline" .*has incompatible type "str"',
}
OVERLOADED = {"a trial of a study", "a trial of optuna"}

#: Calls that are wrong for a single integration, and mypy's message.
WRONG_ALONE = {
    'lrs.torch.LRScheduler(optimizer, "a/b", groups=0.1)': '"groups"',
    'lrs.torch.LRScheduler(optimizer, "a/b", model="resnet")': 'argument "model" .*has incompatible type "str"',
    'lrs.accelerate.LRScheduler(accelerator, optimizer, "a/b", modle=model)': '"modle"',
    'lrs.transformers.LrsCallback("a/b", model=model)': '"model"',
    'lrs.lightning.LrsCallback("a/b", metric=["val_loss"])': '"metric"',
    'lrs.fastai.LrsCallback("a/b", model=model)': '"model"',
    'lrs.composer.LrsCallback("a/b", metrics=[])': '"metrics"',
    'lrs.megatron.OptimizerParamScheduler(optimizer, "a/b", samples_per_step="16")': 'argument "samples_per_step"',
    'lrs.keras.LrsCallback("a/b", stop="yes")': 'argument "stop" .*has incompatible type "str"',
    'lrs.jax.Scheduler("a/b", hyperparamter="learning_rate")': '"hyperparamter"',
    'lrs.torch.LRScheduler(optimizer, **lrs.study.Study("a/b").options(7, groups=0.1))': '"groups"',
    'lrs.katib.observation_log("a/b", metric="loss")': '"metric"',
    'lrs.katib.Metrics().report(loss="low")': 'argument "loss" .*has incompatible type "str"',
    'lrs.mlflow.hand_over("a/b", tracking="file:///")': '"tracking"',
    'lrs.study.Study("a/b", timeout="5")': 'argument "timeout" .*has incompatible type "str"',
}

RIGHT = [
    *(call.format('server=None, total_steps=10, controller="auto", labels={"a": "b"}') for call in CALLS.values()),
    *(
        call.format('schedule="cosine", controllers="auto", require_server=True, complete=False')
        for call in CALLS.values()
    ),
    'lrs.Scheduler("a/b", groups={"head": 0.1}, deadline=1, options=lrs.Options(rank=1), controllers=["auto"])',
    'lrs.Scheduler("a/b").finish("FAILED", "out of memory", timeout=1)',
    'lrs.torch.LRScheduler(optimizer, "a/b", model=model, also_keep=[model], tier=2)',
    'lrs.accelerate.LRScheduler(accelerator, optimizer, "a/b", model=model)',
    'lrs.transformers.LrsCallback("a/b", clip=False, keep=True, stop=True, also_keep=[])',
    'lrs.lightning.LrsCallback("a/b", metrics=["val_loss"], keep=True, schedule={"cosine": {}})',
    'lrs.keras.LrsCallback("a/b", groups=0.1, stop=True, state={})',
    'lrs.fastai.LrsCallback("a/b", clip=False, stop=True, state={})',
    'lrs.composer.LrsCallback("a/b", keep=True, also_keep=[])',
    'lrs.deepspeed.LRScheduler(engine, "a/b", model=model, tier=2)',
    'lrs.megatron.OptimizerParamScheduler(optimizer, "a/b", replaces=engine, samples_per_step=16)',
    'lrs.ray.LRScheduler(optimizer, "a/b", model=model).report({"val_loss": 1.0})',
    'lrs.jax.Scheduler("a/b", groups=0.1, hyperparameter="rate", decision_lag=16)',
    'lrs.Scheduler(**lrs.study.Study("a/b", timeout=1).options(7, groups=0.1))',
    'lrs.torch.LRScheduler(optimizer, model=model, **lrs.study.Study("a/b").options(7))',
    'lrs.Scheduler(**lrs.optuna.TrialJobs("a/b").options_of(trial, groups=0.1, **lrs.optuna.suggest_controllers(trial)))',
    'lrs.katib.observation_log("a/b", metrics=["loss"])',
    'lrs.mlflow.hand_over("a/b", tracking_uri="file:///")',
]


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Mypy's errors for the right and the wrong calls, by call."""
    place = tmp_path_factory.mktemp("mypy")
    (place / "mypy.ini").write_text(
        f"[mypy]\nstrict = true\nfollow_imports = silent\nmypy_path = {Path(lrs.__file__).parents[1]}\n"
        # Reading the types of these libraries would take a minute, and the test does not need them.
        "[mypy-transformers.*,lightning.*,mlflow.*,optuna.*,accelerate.*,keras.*,jax.*,optax.*,grpc.*,"
        "fastai.*,composer.*,ray.*,torchtitan.*]\n"
        "ignore_missing_imports = true\nfollow_imports = skip\n"
    )
    calls = {"right": RIGHT, "wrong": wrong_calls()}
    for name, written in calls.items():
        (place / f"{name}.py").write_text(HEAD + "".join(f"    {call}\n" for call in written))
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", "right.py", "wrong.py"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors = {}
    for name, line, text in re.findall(r"^(\w+)\.py:(\d+): error: (.*)$", done.stdout, re.MULTILINE):
        call = list(calls[name])[int(line) - HEAD.count("\n") - 1]
        errors.setdefault(call, []).append(text)
    return errors


@pytest.fixture(scope="module")
def said_by_pyright(tmp_path_factory):
    """Pyright's errors for the right and the wrong calls, by call. `make test` installs pyright."""
    program = os.environ.get("PYRIGHT_PROGRAM") or shutil.which("pyright")
    if program is None:
        pytest.skip("there is no pyright: set PYRIGHT_PROGRAM")
    place = tmp_path_factory.mktemp("pyright")
    calls = {"right": RIGHT, "wrong": list(wrong_calls())}
    for name, written in calls.items():
        (place / f"{name}.py").write_text(HEAD + "".join(f"    {call}\n" for call in written))
    config = {"include": ["right.py", "wrong.py"], "extraPaths": [str(Path(lrs.__file__).parents[1])]}
    (place / "pyrightconfig.json").write_text(json.dumps(config))
    command = [program, "--outputjson", "--pythonpath", sys.executable, "--project", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    errors = {}
    for one in json.loads(done.stdout)["generalDiagnostics"]:
        if one["severity"] == "error":
            line = one["range"]["start"]["line"] - HEAD.count("\n")
            errors.setdefault(calls[Path(one["file"]).stem][line], []).append(one["message"])
    return errors


def test_pyright_accepts_every_right_call(said_by_pyright):
    assert {call: said_by_pyright[call] for call in RIGHT if call in said_by_pyright} == {}


def test_pyright_rejects_every_wrong_keyword(said_by_pyright):
    # Pyright takes a dictionary's keys that a function does not know. At run time they are refused.
    unpacked = [call for call in wrong_calls() if "(optimizer, **" in call]
    assert [call for call in wrong_calls() if call not in said_by_pyright] == unpacked
    misspelt = 'lrs.Scheduler("a/b", controler="auto")'
    assert said_by_pyright[misspelt] == ['No parameter named "controler"']


def wrong_calls():
    """Wrong calls, and mypy's message for each."""
    calls = dict(WRONG_ALONE)
    for name, call in CALLS.items():
        for keyword, says in WRONG.items():
            calls[call.format(keyword)] = "no overload variant" if name in OVERLOADED else says
    return calls


def test_a_type_checker_accepts_every_right_call(said):
    assert {call: said[call] for call in RIGHT if call in said} == {}


def test_a_type_checker_rejects_every_wrong_keyword(said):
    for call, says in wrong_calls().items():
        assert any(re.search(says, text, re.IGNORECASE) for text in said.get(call, [])), (call, said.get(call))


MADE = {
    "Scheduler": lambda **more: lrs.Scheduler("a/b", **more),
    "torch": lambda **more: lrs.torch.LRScheduler(torch.optim.SGD([torch.zeros(1)]), "a/b", **more),
    "accelerate": lambda **more: lrs.accelerate.LRScheduler(None, torch.optim.SGD([torch.zeros(1)]), "a/b", **more),
    "transformers": lambda **more: lrs.transformers.LrsCallback("a/b", **more),
    "lightning": lambda **more: lrs.lightning.LrsCallback("a/b", **more),
    "keras": lambda **more: lrs.keras.LrsCallback("a/b", **more),
    "jax": lambda **more: lrs.jax.Scheduler("a/b", **more),
    "fastai": lambda **more: import_module("lrs.fastai").LrsCallback("a/b", **more),
    "composer": lambda **more: import_module("lrs.composer").LrsCallback("a/b", **more),
    "deepspeed": lambda **more: import_module("lrs.deepspeed").LRScheduler(None, "a/b", **more),
    "megatron": lambda **more: import_module("lrs.megatron").OptimizerParamScheduler(None, "a/b", **more),
    "torchtitan": lambda **more: import_module("lrs.torchtitan").LRSchedulers(None, "a/b", **more),
    "ray": lambda **more: import_module("lrs.ray").LRScheduler(torch.optim.SGD([torch.zeros(1)]), "a/b", **more),
    "study": lambda **more: lrs.study.Study("a/b", **more),
    "a trial of a study": lambda **more: lrs.study.Study("a/b").options(7, **more),
    "optuna": lambda **more: lrs.optuna.TrialJobs("a/b", **more),
    "a trial of optuna": lambda **more: lrs.optuna.TrialJobs("a/b").options_of(optuna.trial.FixedTrial({}), **more),
}


@pytest.mark.parametrize("integration", CALLS)
def test_a_misspelt_keyword_is_named_with_the_right_one_before_anything_is_done(integration):
    with pytest.raises(TypeError, match=r"\w+ takes no argument 'controler': did you mean 'controllers?'\?") as refused:
        MADE[integration](controler="auto")
    assert isinstance(refused.value, lrs.ArgumentError)


@pytest.mark.parametrize(
    ("integration", "misspelt", "right"),
    [("jax", "hyperparamter", "hyperparameter"), ("transformers", "keeps", "keep"), ("study", "time_out", "timeout")],
)
def test_an_integration_knows_its_own_keywords(integration, misspelt, right):
    with pytest.raises(lrs.ArgumentError, match=f"did you mean '{right}'"):
        MADE[integration](**{misspelt: True})


def test_a_keyword_that_is_like_none_is_answered_with_all_of_them():
    with pytest.raises(lrs.ArgumentError, match=r"no argument 'x': it takes .*arm, .*total_steps\."):
        lrs.Scheduler("a/b", x=1)


def test_the_bounds_among_the_options_hold_unless_an_argument_says_otherwise(server, job):
    options = lrs.Options(deadline=7.0, close_timeout=8.0)
    with lrs.Scheduler(
        job, server=server.url, groups=0.1, total_steps=5, options=options, close_timeout=9.0
    ) as scheduler:
        assert (scheduler._options.deadline, scheduler._options.close_timeout) == (7.0, 9.0)
