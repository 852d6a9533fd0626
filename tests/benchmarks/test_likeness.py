"""What makes two environments unlike."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.environment import describe
from benchmarks.likeness import DECISIVE, differences, require_like
from compressor.errors import OptionError


def test_an_environment_is_like_itself_whatever_the_load() -> None:
    here = describe({})
    assert differences(here, {**here, "load_average": [9.0, 9.0, 9.0], "kernel": "other"}) == ()


@pytest.mark.parametrize("key", DECISIVE)
def test_every_decisive_key_is_named_when_it_differs(key: str) -> None:
    here = describe({"OMP_NUM_THREADS": "1"})
    value: Any = {"OMP_NUM_THREADS": "2"} if key == "thread_variables" else "something else"
    (said,) = differences(here, {**here, key: value})
    assert said.startswith(f"{DECISIVE[key]}: ")
    assert " in one, " in said


def test_unknown_is_not_alike() -> None:
    here = describe({})
    older = {key: value for key, value in here.items() if key != "affinity"}
    assert any("unknown in the other" in one for one in differences(here, older))


def test_another_version_of_a_runtime_is_refused_by_name() -> None:
    here = describe({})
    packages = {**here["packages"], "onnxruntime": "0.1"}
    with pytest.raises(OptionError, match=r"a\.json and b\.json .* not compared: onnxruntime: "):
        require_like(here, {**here, "packages": packages}, ("a.json", "b.json"))
