"""Warnings that are logged once in a training."""

from __future__ import annotations

import logging

log = logging.getLogger("lrs")


class WarnOnce:
    """Logs the first warning about a subject and drops later ones."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def __call__(self, about: str, text: str) -> None:
        """Log `text`, unless a warning about the subject `about` was logged before."""
        if about not in self._known:
            self._known.add(about)
            log.warning("%s", text)
