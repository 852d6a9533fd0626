"""Studies: what the tool costs and how it compares; ``python -m benchmarks.studies.NAME``.

pipeline_cost   time and memory of everything but training
"""
