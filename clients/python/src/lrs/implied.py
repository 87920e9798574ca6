"""A schedule that nobody asked for: the default of a library's trainer."""

from __future__ import annotations

from typing import Any


class Implied(dict[str, Any]):
    """A schedule to register a job with. A registered job may have another, without a word."""
