"""Katib's collectors and its library read a trial."""

import json
import math
import re
import sys
from datetime import datetime
from pathlib import Path

import lrs
import lrs.katib
from lrs.study import SCHEDULES
from processes import python_of, run_command

ROOT = Path(__file__).parents[3]
MANIFEST = ROOT / "deploy" / "katib" / "experiment.yaml"
TRIAL = Path(__file__).parents[1] / "examples" / "katib_trial.py"
#: The collectors' default filter, in its strictest form, which knows no exponent: katib v0.15,
#: pkg/metricscollector/v1beta1/common/const.go.
FILTER = re.compile(r"([\w|-]+)\s*=\s*((-?\d+)(\.\d+)?)")


def collected(text):
    """The values that the text collector finds: the time at the beginning of a line, and each name and value."""
    found = []
    for line in text.splitlines():
        time, rest = line.split(" ", 1)
        datetime.fromisoformat(time.replace("Z", "+00:00"))
        found.extend((time, name, float(value)) for name, value, _, _ in FILTER.findall(rest))
    return found


def test_the_collector_reads_every_finite_value_to_the_last_bit(tmp_path, capsys):
    values = [0.1 + 0.2, 1e-7, -1.5e300, 5e-324, 0.0, 123456.0]
    path = tmp_path / "metrics.log"
    for metrics in (lrs.katib.Metrics(path), lrs.katib.Metrics()):
        for value in values:
            metrics.report(loss=value, accuracy=math.nan)
        metrics.report(loss=math.inf)
    for text in (path.read_text(), capsys.readouterr().out):
        found = collected(text)
        assert [value for _, _, value in found] == values
        assert {name for _, name, _ in found} == {"loss"}
        assert [time for time, _, _ in found] == sorted(time for time, _, _ in found)


def test_a_trial_is_a_job_and_katib_understands_what_it_wrote(server, tmp_path):
    metrics = tmp_path / "metrics.log"
    run_command(
        [sys.executable, TRIAL, "--base-lr=0.05", "--schedule=cosine", "--warmup-share=0.1"],
        timeout=120,
        LRS_SERVER=server.url,
        TRIAL_NAME="rate-and-schedule-x7k2",
        METRICS_FILE=str(metrics),
        EXPERIMENT_NAME="rate-and-schedule",
    )

    job = "examples/rate-and-schedule-x7k2"
    assert server.job(job).spec.experiment == "rate-and-schedule"
    losses = server.record(job)["loss"]
    written = [value for _, _, value in collected(metrics.read_text())]
    assert written == [losses[step] for step in range(9, 500, 10)]

    log = tmp_path / "log.json"
    log.write_text(json.dumps(lrs.katib.observation_log(job, server=server.url)))
    # Katib's library and this client need protobufs of different years, so this client is not on its path.
    reader = [python_of("requirements-katib.txt"), Path(__file__).with_name("katib_reads.py"), MANIFEST, log]
    understood = run_command(reader, PYTHONPATH="")
    read = json.loads(understood.stdout)
    assert (read["objective"], read["collector"]) == ("loss", "File")
    assert read["parameters"] == {"base-lr": None, "schedule": list(SCHEDULES), "warmup-share": None}
    assert [(name, float(value)) for name, value in read["observations"]] == [
        ("loss", loss) for loss in losses.values()
    ]


def test_the_command_prints_the_observation_log_in_order(server, capsys):
    with lrs.Scheduler("katib/log", server=server.url, groups=0.1, total_steps=10, start_timeout=60) as scheduler:
        for loss in (1.0, math.nan, 0.25):
            scheduler.step(loss, metrics={"val_loss": loss})
    assert lrs.katib.main(["katib/log", "--server", server.url, "--metric", "loss", "--metric", "val_loss"]) == 0
    logs = json.loads(capsys.readouterr().out)["metric_logs"]
    assert [(log["metric"]["name"], log["metric"]["value"]) for log in logs] == [
        ("loss", "1.0"), ("val_loss", "1.0"), ("loss", "0.25"), ("val_loss", "0.25"),
    ]  # fmt: skip
    assert [log["time_stamp"] for log in logs] == sorted(log["time_stamp"] for log in logs)
    assert lrs.katib.main(["katib/none", "--server", server.url]) == 1
    assert "There is no namespaces/katib/jobs/none" in capsys.readouterr().err
