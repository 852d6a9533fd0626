"""A browser for tests that look at pages; and how many examples property tests try: few and always
the same ones, or many on demand.

``HYPOTHESIS_PROFILE=long`` tries forty times as many, other ones each time; a test that is slow
takes a share of what the profile says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.benchmarks import browser

COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile("ci", max_examples=100, derandomize=True, database=None, **COMMON)
settings.register_profile("long", max_examples=4000, print_blob=True, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    program = browser.find()
    if program is None:
        pytest.skip(f"none of {', '.join(browser.NAMES)} is installed")
    with browser.browsing(program, tmp_path_factory.mktemp("profile")) as found:
        yield found
