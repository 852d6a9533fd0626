"""Bars: the part of a whole that is kept, and teacher over student."""

from __future__ import annotations

from markupsafe import Markup


def part_bar(part: float, whole: float, widest: float) -> Markup:
    """The part solid, the rest of the whole pale; ``widest`` fills the whole width."""
    return Markup(
        '<svg class="bar" aria-hidden="true">'
        '<rect class="gone" width="{before}%" height="100%" rx="1.5"/>'
        '<rect class="kept" width="{after}%" height="100%" rx="1.5"/></svg>'
    ).format(before=_percent(whole, widest), after=_percent(part, widest))


def pair_bar(teacher: float, student: float, widest: float) -> Markup:
    """Teacher above, student below; ``widest`` fills the whole width."""
    return Markup(
        '<svg class="bar pair" aria-hidden="true">'
        '<rect class="teacher" width="{before}%" height="46%" rx="1.5"/>'
        '<rect class="kept" y="54%" width="{after}%" height="46%" rx="1.5"/></svg>'
    ).format(before=_percent(teacher, widest), after=_percent(student, widest))


def _percent(value: float, widest: float) -> float:
    return round(100 * value / widest, 2) if widest else 0.0
