"""Checks the state in a checkpoint, and that it belongs to the job's present history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from lrs.errors import ResumeError, UsageError
from lrs.v1.job_service_pb2 import ListAttemptsRequest

if TYPE_CHECKING:
    from lrs.v1.job_pb2 import Attempt
    from lrs.wire import Connection


def checked_state(state: object, job: str) -> dict[str, Any]:
    """The state of a scheduler of `job`, as a dictionary that has `step` and `attempt`.

    Raises:
        UsageError: If `state` is not the state of a scheduler.
        ResumeError: If it is the state of another job's scheduler.
    """
    if not isinstance(state, Mapping):
        raise UsageError(f"A state must be what state_dict() returned, and was {state!r:.60}.")
    if state.get("version") != 1 or not all(isinstance(state.get(name), int) for name in ("step", "attempt")):
        raise UsageError("This is not the state of an lrs.Scheduler of this version: pass what state_dict() returned.")
    if state.get("job") != job:
        raise ResumeError(
            f"The checkpoint is of {state.get('job')}, but this scheduler trains {job}. Make the scheduler with the "
            "checkpoint's job, or fork that job with `lrs job fork` and start the fork with resume_step.",
            reason="OTHER_JOB",
        )
    return dict(state)


def check_lineage(connection: Connection, job: str, state: Mapping[str, object], timeout: float) -> None:
    """Raise `ResumeError` unless the newest attempt of `job` has the checkpoint's history up to its step."""
    attempt, step = cast("int", state["attempt"]), cast("int", state["step"])
    if attempt == 0:
        return  # the service had no attempt when the checkpoint was made
    known: dict[int, Attempt] = {}
    token = ""
    while True:
        answer = connection.list_attempts(ListAttemptsRequest(job=job, page_token=token), timeout)
        known.update({entry.attempt: entry for entry in answer.attempts})
        token = answer.next_page_token
        if not token:
            break
    if attempt not in known:
        raise ResumeError(
            f"The checkpoint is of attempt {attempt} of {job}, but the service knows only {len(known)} attempts, so it has "
            "another database. Use the checkpoint's server, or train under a new job name.",
            reason="UNKNOWN_ATTEMPT",
        )
    problem = departure(known, attempt, step)
    if problem is not None:
        raise ResumeError(
            f"The checkpoint is of attempt {attempt} at step {step}, but attempt {problem.attempt} of {job} has trained the "
            f"job anew from step {problem.resume_step} on. Resume from a checkpoint of attempt {problem.attempt}, or fork "
            "the job with `lrs job fork` and train under the fork's name.",
            reason="OTHER_HISTORY",
        )


def departure(attempts: Mapping[int, Attempt], attempt: int, step: int) -> Attempt | None:
    """The attempt, between the newest attempt and `attempt`, that left the history of `attempt` before `step`, if any."""
    at = attempts.get(max(attempts))
    while at is not None and at.attempt != attempt:
        if at.resume_step < step:
            return at
        at = attempts.get(at.parent_attempt)
    return None
