"""The attempt's token, from the launcher's environment variables."""

import pytest

from lrs.attempt import attempt_token


@pytest.mark.parametrize(
    ("environment", "token"),
    [
        ({"TORCHELASTIC_RUN_ID": "r1", "TORCHELASTIC_RESTART_COUNT": "2"}, "torchelastic:r1:2"),
        ({"SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_RESTART_COUNT": "1"}, "slurm:77:0:1"),
        ({"TORCHELASTIC_RUN_ID": "none", "SLURM_JOB_ID": "77"}, "slurm:77:-:0"),
    ],
)
def test_a_launcher_names_the_attempt_for_all_its_processes(environment, token):
    assert attempt_token(environment) == token == attempt_token(environment)


@pytest.mark.parametrize("environment", [{}, {"JOB_COMPLETION_INDEX": "3", "HOSTNAME": "train-3"}])
def test_where_nothing_tells_restarts_apart_each_token_is_another(environment):
    first, second = attempt_token(environment), attempt_token(environment)
    assert first != second
    assert environment.get("JOB_COMPLETION_INDEX", "") in first


def test_a_long_token_is_shortened_and_stays_distinct():
    long = [attempt_token({"TORCHELASTIC_RUN_ID": "x" * 300 + end}) for end in "ab"]
    assert all(len(token) <= 200 for token in long)
    assert long[0] != long[1]
