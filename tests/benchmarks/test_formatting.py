"""Numbers as people read them."""

from __future__ import annotations

import pytest

from benchmarks import formatting


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (formatting.count(25_557_032), "25.6 M"),
        (formatting.count(853), "853"),
        (formatting.size(44_720_000), "44.7 MB"),
        (formatting.share(0.9271), "92.7 %"),
        (formatting.milliseconds(0.5441), "0.544"),
        (formatting.milliseconds(1290.4), "1,290"),
        (formatting.milliseconds(None), formatting.UNKNOWN),
        (formatting.seconds(75.2), "1 min 15 s"),
        (formatting.error(3.14e-15), "3.1e-15"),
        (formatting.error(0.0), "0"),
        (formatting.error(0.83), "0.83"),
        (formatting.metrics({"top1": 0.5, "top5": 0.75}), "top-1 50.0 %, top-5 75.0 %"),
    ],
)
def test_numbers_are_written_for_people(shown: str, text: str) -> None:
    assert shown == text
