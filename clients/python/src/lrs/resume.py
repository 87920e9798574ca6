"""Whether a checkpoint belongs to the present history of its job."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lrs.errors import ResumeError
from lrs.v1.job_service_pb2 import ListAttemptsRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lrs.v1.job_pb2 import Attempt
    from lrs.wire import Connection


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
