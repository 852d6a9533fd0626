"""Answers as lines of plain text, at most 80 columns wide where names allow it.

Comes in: an ``Explanation`` (``answers``) or a ``Narrowing`` (``widths``).  Goes out: lines, the
first of each block its heading.  Long lists are cut, and a line says so, unless the reader asked
for all.  Knows nothing of terminals and colours.
"""
