"""How many examples property tests try: few and always the same ones, or many on demand.

``HYPOTHESIS_PROFILE=long`` tries forty times as many, other ones each time; a test that is slow
takes a share of what the profile says.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile("ci", max_examples=100, derandomize=True, database=None, **COMMON)
settings.register_profile("long", max_examples=4000, print_blob=True, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
