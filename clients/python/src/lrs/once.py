"""Warnings of which a training needs one."""

from __future__ import annotations

import logging

log = logging.getLogger("lrs")


class WarnOnce:
    """Logs a warning the first time that its subject comes up, and never again."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def __call__(self, about: str, text: str) -> None:
        """Log `text`, unless something was logged `about` the same before."""
        if about not in self._known:
            self._known.add(about)
            log.warning("%s", text)
