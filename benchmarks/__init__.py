"""Deployables to samples to statistics to a report.

    workloads    what is run: runtime, device, precision, batch, threads
    runtimes     what runs it: ONNX Runtime on the CPU, torch on the CPU or CUDA
    sampling     paired, interleaved timing of teacher, student and a second copy of the teacher
    statistics   samples to speed-up, interval, noise floor and a word for it
    comparison   the three above in a row; raw samples to files, one row per workload
    environment  the machine and the packages that the figures belong to
    likeness     whether two sets of figures belong to like environments
    entries      a run's files as values that know where they stand
    formatting   numbers to text
    figures      numbers and texts that say which entry they are
    wording      small phrases: a workload, an interval, metrics
    verdict      the one line a command prints, with its doubts
    blocks       what a page is made of
    plots        numbers to inline SVG
    sections     the parts of a page, from a report's entries to blocks
    raw_samples  the files of raw samples: for pictures, and as CSV
    lineup       several runs side by side, and what can be said of their differences
    report       a run folder's files to one self-contained page
    markdown     the same as a few lines for a pull request
    text_tables  sections as plain lines for a terminal
    schema       the JSON Schema of report.json

Only ``runtimes`` touches torch or ONNX Runtime, and only inside functions.
"""
