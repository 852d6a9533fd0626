"""Deployables to samples to statistics to a report.

    workloads     what is run: runtime, device, precision, batch, threads
    runtimes      what runs it: ONNX Runtime, OpenVINO, torch; a package, a module for each library
    inputs        what a file says it takes, and random inputs that fit
    sampling      paired, interleaved timing of teacher, student and a second copy of the teacher
    surroundings  load, steal and neighbours while something is measured
    workers       a fresh process that measures
    measurements  one workload as several processes measured it, and its file of raw samples
    speedups      paired samples to a speed-up, its interval and the noise floor
    statistics    pooled samples to percentiles, throughput, contention
    dispatch      fresh processes, one after another, until a pair is measured well enough
    summaries     a measurement to a word for it, with the reasons for any doubt
    comparison    a pair over several workloads: one row each
    environment   the machine and the packages that the figures belong to
    likeness      whether two sets of figures may be compared
    bench         any files against the first of them: ``compressor bench``
    verdict       the one line a command prints
    formatting    numbers to text
    tables        figures to a table for the terminal
    pictures      numbers to inline SVG
    report        a run folder's files to one self-contained page

Only ``runtimes`` touches torch or ONNX Runtime, and only inside functions.
"""
