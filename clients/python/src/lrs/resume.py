"""The state in a checkpoint, and whether it belongs to the present history of its job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from lrs.errors import ResumeError, UsageError
from lrs.v1.job_service_pb2 import ListAttemptsRequest

if TYPE_CHECKING:
    from lrs.v1.job_pb2 import Attempt
    from lrs.wire import Connection


def checked_state(state: object, job: str) -> dict[str, Any]:
    """The state of a scheduler that trained `job`, with `step` and `attempt` in it.

    Raises:
        UsageError: If this is no state of a scheduler.
        ResumeError: If it is of another job.
    """
    if not isinstance(state, Mapping):
        raise UsageError(f"A state is what state_dict() returned, and this was {state!r:.60}.")
    if state.get("version") != 1 or not all(isinstance(state.get(name), int) for name in ("step", "attempt")):
        raise UsageError("This is no state of an lrs.Scheduler of this version; pass what state_dict() returned.")
    if state.get("job") != job:
        raise ResumeError(
            f"The checkpoint is of {state.get('job')}, and this scheduler trains {job}. Make the scheduler with that job's "
            "name, or fork that job with `lrs job fork` and start the fork with resume_step.",
            reason="OTHER_JOB",
        )
    return dict(state)


def check_lineage(connection: Connection, job: str, state: Mapping[str, object], timeout: float) -> None:
    """Raise `ResumeError` unless the newest attempt of `job` shares its history up to the checkpoint's step with it."""
    attempt, step = cast("int", state["attempt"]), cast("int", state["step"])
    if attempt == 0:
        return  # nothing was on record when it was made
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
            f"The checkpoint is of attempt {attempt} of {job}, and the service knows {len(known)} attempts only: its "
            "database is another one. Use the right server, or train under a new job name.",
            reason="UNKNOWN_ATTEMPT",
        )
    problem = departure(known, attempt, step)
    if problem is not None:
        raise ResumeError(
            f"The checkpoint is of attempt {attempt} at step {step}, but attempt {problem.attempt} of {job} has gone "
            f"another way from step {problem.resume_step} on. Resume from a checkpoint of attempt {problem.attempt}, or "
            "fork the job with `lrs job fork` and train under the fork's name.",
            reason="OTHER_HISTORY",
        )


def departure(attempts: Mapping[int, Attempt], attempt: int, step: int) -> Attempt | None:
    """The attempt between the newest and `attempt` that left its history before `step`, if there is one."""
    at = attempts.get(max(attempts))
    while at is not None and at.attempt != attempt:
        if at.resume_step < step:
            return at
        at = attempts.get(at.parent_attempt)
    return None
