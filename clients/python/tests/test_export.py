"""The files of `lrs export`, read by the tools that they are made for."""

import json
import math
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

import lrs

STEPS = 200
LOSSES = [1 / (1 + step) for step in range(STEPS)]
LOSSES[7:10] = [math.nan, math.inf, -math.inf]


@pytest.fixture(scope="module")
def exported(server, tmp_path_factory):
    """A job with all kinds of records, and the directory of its tables in each format."""
    job = "export/everything"
    with lrs.Scheduler(
        job,
        server=server.url,
        groups={"backbone": 0.1, "head": 0.2},
        total_steps=STEPS,
        schedule={"cosine": {}},
        controllers=[{"reduce_lr_on_plateau": {"factor": 0.5, "patience": 20}}],
        deadline=20.0,
        start_timeout=60,
        close_timeout=60,
    ) as scheduler:
        for step, loss in enumerate(LOSSES):
            used = scheduler.learning_rate
            metrics = {"val_loss": loss / 2} if step % 50 == 49 else None
            scheduler.step(loss if step < 150 else 1.0, grad_norm=2.0, metrics=metrics, learning_rate=used)
    places = {}
    for kind in ("parquet", "csv", "jsonl"):
        places[kind] = tmp_path_factory.mktemp(kind)
        server.run("export", job, "--format", kind, "--to", str(places[kind]))
    return job, places


def same(found, expected):
    """Check that two lists are equal. NaN equals NaN."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one == other or (math.isnan(one) and math.isnan(other)), (one, other)


def expected_losses():
    return [loss if step < 150 else 1.0 for step, loss in enumerate(LOSSES)]


def check_values(steps, losses, val_losses):
    assert list(steps) == list(range(STEPS))
    same(list(losses), expected_losses())
    evaluated = [(step, value) for step, value in enumerate(val_losses) if value is not None and not math.isnan(value)]
    assert evaluated == [(step, LOSSES[step] / 2) for step in range(49, STEPS, 50)]


def types(path):
    """The types of a table's columns, in the words of DuckDB."""
    table = json.loads((Path(path).parent / "export.json").read_text())["tables"][Path(path).stem]
    names = {"int64": "BIGINT", "float64": "DOUBLE", "string": "VARCHAR", "json": "JSON", "timestamp": "TIMESTAMPTZ"}
    return {column["name"]: names[column["type"]] for column in table["columns"]}


READERS = {
    "parquet": {
        "pandas": pd.read_parquet,
        "polars": lambda path: pl.read_parquet(path),
        "duckdb": lambda path: duckdb.sql(f"select * from read_parquet('{path}')"),
    },
    "csv": {
        # Pandas' default parser of numbers is sometimes wrong in the last bit.
        "pandas": lambda path: pd.read_csv(path, float_precision="round_trip"),
        "polars": lambda path: pl.read_csv(path, infer_schema_length=None),
        "duckdb": lambda path: duckdb.sql(f"select * from read_csv('{path}')"),
    },
    "jsonl": {
        "pandas": lambda path: pd.read_json(path, lines=True, precise_float=True),
        "polars": lambda path: pl.read_ndjson(path, infer_schema_length=None),
        # With types: NaN and infinities are text in JSON, and tools do not convert text to numbers unasked.
        "duckdb": lambda path: duckdb.sql(f"select * from read_json('{path}', columns = {types(path)})"),
    },
}
CASES = [(kind, tool) for kind, tools in READERS.items() for tool in tools]


def columns(kind, tool, path):
    """The columns of a table, as lists by name."""
    table = READERS[kind][tool](str(path))
    if tool == "pandas":
        found = {name: list(table[name]) for name in table.columns}
    elif tool == "polars":
        found = table.to_dict(as_series=False)
    else:
        found = dict(zip(table.columns, map(list, zip(*table.fetchall(), strict=True)), strict=True))
    return found


def numbers(values):
    return [None if value is None else float(value) for value in values]


@pytest.mark.parametrize(("kind", "tool"), CASES)
def test_the_telemetry_is_read_to_the_last_bit(exported, kind, tool):
    found = columns(kind, tool, exported[1][kind] / f"telemetry.{kind}")
    assert list(found) == ["step", "loss", "grad_norm", "learning_rate", "val_loss"]
    check_values(found["step"], numbers(found["loss"]), numbers(found["val_loss"]))


@pytest.mark.parametrize(("kind", "tool"), CASES)
def test_the_rates_are_those_that_were_used(exported, kind, tool):
    rates = columns(kind, tool, exported[1][kind] / f"rates.{kind}")
    used = columns(kind, tool, exported[1][kind] / f"telemetry.{kind}")["learning_rate"]
    told = [rate for group, rate in zip(rates["group"], rates["learning_rate"], strict=True) if group == "backbone"]
    assert told[:STEPS] == used
    assert told[-1] < told[0]


@pytest.mark.parametrize(("kind", "tool"), CASES)
def test_the_decisions_tell_why(exported, kind, tool):
    decisions = columns(kind, tool, exported[1][kind] / f"decisions.{kind}")
    assert set(decisions["kind"]) == {"base_rate_change"}
    assert set(decisions["author"]) == {"0/reduce_lr_on_plateau"}
    assert all("did not improve" in reason for reason in decisions["reason"])


def test_a_missing_value_is_no_nan_where_the_tool_knows_both(exported):
    path = exported[1]["parquet"] / "telemetry.parquet"
    table = pl.read_parquet(path)
    assert table["val_loss"].null_count() == STEPS - 4
    assert table["val_loss"].is_nan().sum() == 0
    assert table["loss"].is_nan().sum() == 1
    counted = duckdb.sql(f"select count(*) filter (isnan(loss)), count(val_loss) from '{path}'").fetchall()
    assert counted == [(1, 4)]


def test_units_are_in_the_metadata_of_each_column(exported):
    places = exported[1]
    schema = pq.read_schema(places["parquet"] / "telemetry.parquet")
    assert schema.field("step").metadata[b"unit"] == b"optimizer step"
    assert schema.field("learning_rate").metadata[b"unit"] == b"1"
    about = json.loads(pq.read_metadata(places["parquet"] / "telemetry.parquet").metadata[b"lrs"])
    assert about["job"].endswith("/jobs/everything")
    assert [column["name"] for column in about["columns"]] == schema.names
    key = f"select value from parquet_kv_metadata('{places['parquet']}/rates.parquet') where key = 'lrs'"
    assert json.loads(duckdb.sql(key).fetchall()[0][0])["table"] == "rates"
    for place in places.values():
        document = json.loads((place / "export.json").read_text())
        units = {column["name"]: column["unit"] for column in document["tables"]["rates"]["columns"]}
        assert units["learning_rate"] == "1"


def test_a_decision_has_its_time_and_its_evidence(exported):
    decisions = pd.read_parquet(exported[1]["parquet"] / "decisions.parquet")
    assert str(decisions["create_time"].dt.tz) == "UTC"
    evidence = [json.loads(text) for text in decisions["evidence"]]
    assert all(figures for figures in evidence)


def test_tensorboard_shows_telemetry_rates_and_decisions(server, exported, tmp_path):
    job, _ = exported
    for _ in range(2):  # a second export replaces the first
        server.run("export", job, "--to", "tensorboard", str(tmp_path))
    assert len(list(tmp_path.rglob("events.out.tfevents.*"))) == 1

    run = EventAccumulator(str(tmp_path / "export" / "everything"), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    assert set(run.Tags()["scalars"]) == {
        "telemetry/loss",
        "telemetry/grad_norm",
        "telemetry/learning_rate",
        "telemetry/val_loss",
        "rates/backbone/learning_rate",
        "rates/head/learning_rate",
    }
    losses = run.Scalars("telemetry/loss")
    assert [event.step for event in losses] == list(range(STEPS))
    same(
        [event.value for event in losses], [float(pl.Series([loss], dtype=pl.Float32)[0]) for loss in expected_losses()]
    )
    assert run.SummaryMetadata("decisions").plugin_data.plugin_name == "text"
    texts = [tensor_util.make_ndarray(event.tensor_proto).item().decode() for event in run.Tensors("decisions")]
    assert texts
    assert all("0/reduce_lr_on_plateau" in text for text in texts)
