"""The start of a scheduler: it waits for the service, and says what training does without."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lrs import errors
from lrs.forks import fork_hint

if TYPE_CHECKING:
    from lrs.directives import Directives
    from lrs.link import Link
    from lrs.options import Options

log = logging.getLogger("lrs")


def arrive(link: Link, options: Options, directives: Directives) -> errors.LrsError | None:
    """Wait until the service has found or registered the job, up to `start_timeout`; return why the scheduler cannot be made.

    Without the service, training begins with the base rates, if they are known and the options allow it.
    """
    if link.is_offline:
        directives.lose(logging.INFO)  # silently: nobody is awaited
        link.announces = True
        if directives.base_rates:
            return None
        text = f"LRS_OFFLINE trains {link.errand.job} without a server, so the base rates are not known: give `groups`."
        return errors.UnreachableError(text, code="UNAVAILABLE")
    link.await_registration(options.start_timeout)
    if link.refusal is not None:
        return link.refusal
    link.announces = True
    if link.job is not None:
        return None
    setback = link.setback
    if setback is not None:
        text = str(setback)
    else:
        server, why = link.errand.server, link.last_failure or "no answer"
        text = f"{server} did not answer within {options.start_timeout} s ({why}). Is `lrs serve` running there?{fork_hint()}"
    if not directives.base_rates:
        text += " To begin without the server, give `groups`, the base rates."
    if options.strict or options.require_server or not directives.base_rates:
        if setback is not None:
            return type(setback)(text, code=setback.code, reason=setback.reason)
        return errors.UnreachableError(text, code="UNAVAILABLE")
    directives.lose(logging.WARNING)
    log.warning("%s Training begins with the given base rates, and the client keeps trying to connect.", text)
    return None
