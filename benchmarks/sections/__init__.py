"""The parts of a page, each from a report's entries to blocks.

    heading      the verdict with its status and doubts, and the figures in large type
    tradeoff     accuracy against latency over runtimes and precisions
    networks     teacher and student side by side, and how accuracy came back
    widths       units before and after
    speed        speed-ups, latencies, distributions, latency by batch
    layers       where the time went, and why it is not less
    service      throughput and load
    footprint    cold start, memory, energy
    proof        the proof, and what was frozen
    files        what ships
    repeating    notes, environment, the command

A part that the report says nothing of is None.  All knows nothing of torch and of HTML.
"""
