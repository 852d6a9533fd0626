"""A row that stands for a network of the zoo, and records made up for the page."""

from __future__ import annotations

import pytest

from benchmarks.studies.networks import Network


@pytest.fixture
def row() -> Network:
    """Its inputs are those of the zoo's pictures."""
    return Network(library="torchvision", factory="chain", shape=(3, 8, 8), millions=0.1)
