"""Numbers to inline SVG.

    scales         where a value stands, round numbers for an axis, grid lines
    bars           a part of a whole; teacher over student
    distributions  share of calls done within a time
    forests        speed-ups with their intervals and the noise they stand in
    curves         teacher and student over batches or rates of arrival
    fronts         accuracy against latency

Out comes markup for a page that sets the colours (classes ``t`` teacher, ``s`` student).  Places
are in per cent of the width and text in pixels, so that pictures shrink and their words do not.
Everything that is not a number is escaped, and every number says which entry of the report it is.
None of these knows files or the page around.
"""
