"""A job's record in MLflow, read back with MLflow."""

import math

import mlflow
import pytest

import lrs
import lrs.mlflow
from lrs.v1.job_pb2 import Job
from lrs.v1.job_service_pb2 import CompleteJobRequest

LOSSES = [1 / (1 + step) for step in range(1200)]
LOSSES[3] = math.nan


@pytest.fixture(scope="module")
def tracking_uri(tmp_path_factory):
    place = tmp_path_factory.mktemp("mlflow")
    return f"sqlite:///{place}/mlflow.db"


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path, monkeypatch):
    """By default, MLflow writes artifacts below the working directory."""
    monkeypatch.chdir(tmp_path)


def train(server, job, losses, first=0):
    scheduler = lrs.Scheduler(
        job,
        server=server.url,
        groups=0.5,
        total_steps=2000,
        schedule={"cosine": {}},
        controllers=[{"reduce_lr_on_plateau": {"patience": 5, "threshold": 0.01}}],
        experiment="handed-over",
        arm="ARM_SCHEDULED",
        seed=7,
        labels={"team": "vision"},
        resume_step=first,
        start_timeout=60,
        close_timeout=60,
    )
    with scheduler:
        for loss in losses:
            scheduler.step(loss, metrics={"val_loss": loss} if scheduler.next_step % 100 == 0 else None)


def history(client, run, name):
    found = client.get_metric_history(run, name)
    values = {metric.step: metric.value for metric in found}
    assert len(values) == len(found), "each step once"
    return values


def test_a_job_is_handed_over_once_and_goes_on_where_it_ended(server, tracking_uri):
    job = "mlflow/whole"
    train(server, job, LOSSES[:700])
    run = lrs.mlflow.hand_over(job, server=server.url, tracking_uri=tracking_uri)
    client = mlflow.MlflowClient(tracking_uri)
    assert len(history(client, run, "loss")) == 700
    assert client.get_run(run).info.status == "RUNNING"

    train(server, job, LOSSES[700:], first=700)
    second = lrs.mlflow.hand_over(job, server=server.url, tracking_uri=tracking_uri)
    assert second != run, "another attempt is another run"
    name = server.job(job).name
    server.call("JobService/CompleteJob", CompleteJobRequest(name=name, outcome=Job.STATE_COMPLETED), Job)
    for _ in range(2):
        assert lrs.mlflow.hand_over(job, server=server.url, tracking_uri=tracking_uri) == second

    losses = history(client, second, "loss")
    assert sorted(losses) == list(range(1200))
    assert math.isnan(losses.pop(3))
    assert all(value == LOSSES[step] for step, value in losses.items())
    assert sorted(history(client, second, "val_loss")) == list(range(0, 1200, 100))
    assert len(history(client, second, "learning_rate")) == 1200
    found = client.get_run(second)
    assert found.info.status == "FINISHED"
    assert client.get_experiment(found.info.experiment_id).name == "handed-over"
    assert found.data.params["schedule"] == '{"cosine": {}}'
    assert found.data.params["total_steps"] == "2000"
    tags = found.data.tags
    assert (tags["lrs.arm"], tags["lrs.seed"], tags["lrs.label.team"]) == ("ARM_SCHEDULED", "7", "vision")
    artifact = mlflow.artifacts.load_text(f"{found.info.artifact_uri}/decisions.jsonl")
    assert "reduce_lr_on_plateau" in artifact


def test_the_command_says_which_run_or_what_is_wrong(server, tracking_uri, capsys):
    train(server, "mlflow/command", LOSSES[:5])
    arguments = ["mlflow/command", "--server", server.url, "--tracking-uri", tracking_uri, "--experiment", "other"]
    assert lrs.mlflow.main(arguments) == 0
    run = capsys.readouterr().out.strip()
    client = mlflow.MlflowClient(tracking_uri)
    assert client.get_experiment(client.get_run(run).info.experiment_id).name == "other"
    assert lrs.mlflow.main([*arguments, "--attempt", "2"]) == 1
    assert "no attempt 2" in capsys.readouterr().err
    assert lrs.mlflow.main(["mlflow/none", *arguments[1:]]) == 1
    assert "There is no namespaces/mlflow/jobs/none" in capsys.readouterr().err
