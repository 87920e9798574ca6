"""Reads a manifest and an observation log with Katib's own library, in the environment that has it."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import yaml
from google.protobuf import json_format
from kubeflow.katib import ApiClient
from kubeflow.katib.katib_api_pb2 import ObservationLog


def known_fields(written, model, path):
    """Check that Katib's model has read every field of the manifest."""
    read = ApiClient().sanitize_for_serialization(model)
    unread = set(written) - set(read)
    assert not unread, f"{path}: Katib does not know {unread}"
    for name, value in written.items():
        if isinstance(value, dict) and name not in ("trialSpec", "metadata"):
            known_fields(value, read[name], f"{path}.{name}")


manifest, log = (Path(argument).read_text() for argument in sys.argv[1:])
written = yaml.safe_load(manifest)
answer = SimpleNamespace(data=json.dumps(written))
experiment = ApiClient().deserialize(answer, "V1beta1Experiment")
known_fields(written, experiment, "experiment")
observations = json_format.Parse(log, ObservationLog())
print(
    json.dumps(
        {
            "objective": experiment.spec.objective.objective_metric_name,
            "collector": experiment.spec.metrics_collector_spec.collector.kind,
            "parameters": {parameter.name: parameter.feasible_space.list for parameter in experiment.spec.parameters},
            "observations": [[entry.metric.name, entry.metric.value] for entry in observations.metric_logs],
        }
    )
)
