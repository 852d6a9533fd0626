"""A share of the examples that the profile of ``conftest`` asks for."""

from __future__ import annotations

from hypothesis import settings


def times(share: float) -> settings:
    """For a test whose examples are slow, or quick: that share of the profile's, five at least."""
    return settings(max_examples=max(5, round(share * settings.default.max_examples)))  # type: ignore[union-attr]
