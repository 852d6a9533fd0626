"""Deployables to samples to statistics to a report.

    workloads     what is run: runtime, device, precision, batch, threads
    runtimes      what runs it: ONNX Runtime, OpenVINO, torch; a package, a module for each library
    inputs        what a file says it takes, and random inputs that fit
    outside       weights that a file has beside itself: whether they are there
    sampling      paired, interleaved timing of teacher, student and a second copy of the teacher
    surroundings  load, steal and neighbours while something is measured
    workers       a fresh process that measures
    measurements  one workload as several processes measured it, and its file of raw samples
    speedups      paired samples to a speed-up, its interval and the noise floor
    statistics    pooled samples to percentiles, throughput, contention
    dispatch      fresh processes, one after another, until a pair is measured well enough
    summaries     a measurement to a word for it, with the reasons for any doubt
    comparison    a pair over several workloads: one row each
    operations    an ONNX file's nodes: multiply-accumulates, bytes, widths
    kernels       what the runtime made of them: which nodes each of its kernels computes
    steps         what OpenVINO tells of the nodes that it runs
    profilers     the runtimes' own clocks for every kernel
    profiles      the time of every kernel, teacher and student in turn
    partners      which operation of the student is which of the teacher's
    layers        teacher's and student's kernels side by side
    attribution   the time that did not fall as the MACs did, taken apart by layer and cause
    alignment     widths that a runtime's kernels want, and the student's that they do not get
    reasons       all that in words
    explanations  the same for each runtime and precision, as entries of the report
    sessions      ONNX Runtime with a setting that is not the usual one
    throughput    samples per second by batch, and by threads and streams
    load          open-loop arrivals, latency from the scheduled start, highest rate under a limit
    fresh         the program that a fresh process runs
    starts        fresh processes, one after the other
    cold_start    import, load, first call, calls until steady
    memory        peak memory beyond the libraries'
    energy        joules per call, where the machine tells
    deep          all of these in a row, as keys of the report
    environment   the machine and the packages that the figures belong to
    likeness      whether two sets of figures may be compared
    probe         which widths a runtime likes: staircases of a network's layers; a package
    bench         any files against the first of them: ``compressor bench``
    tables        figures of ``bench`` to a table for the terminal
    entries       a run's files as values that know where they stand
    formatting    numbers to text
    figures       numbers and texts that say which entry they are
    wording       small phrases: a workload, an interval, metrics
    verdict       the one line a command prints, with its doubts
    blocks        what a page is made of
    plots         numbers to inline SVG
    sections      the parts of a page, from a report's entries to blocks
    raw_samples   the files of raw samples: for pictures, and as CSV
    lineup        several runs side by side, and what can be said of their differences
    report        a run folder's files to one self-contained page
    markdown      the same as a few lines for a pull request
    text_tables   sections as plain lines for a terminal
    schema        the JSON Schema of report.json

Only ``runtimes`` and ``inputs`` touch torch; ``runtimes``, ``profilers``, ``sessions`` and
``throughput`` touch ONNX Runtime or OpenVINO; all only inside functions.  ``probe`` takes a
captured network.
"""
