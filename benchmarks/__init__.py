"""Deployables to samples to statistics to a report.

    workloads    what is run: runtime, device, precision, batch, threads
    runtimes     what runs it: ONNX Runtime on the CPU, torch on the CPU or CUDA
    sampling     paired, interleaved timing of teacher, student and a second copy of the teacher
    statistics   samples to speed-up, interval, noise floor and a word for it
    comparison   the three above in a row; raw samples to files, one row per workload
    operations   an ONNX file's nodes: multiply-accumulates, bytes, widths
    kernels      what the runtime made of them: which nodes each of its kernels computes
    profilers    the runtimes' own clocks for every kernel
    profiles     the time of every kernel, teacher and student in turn
    layers       teacher's and student's kernels side by side
    attribution  the time that did not fall as the MACs did, taken apart by layer and cause
    reasons      that in words, and as rows of the report
    sessions     ONNX Runtime with a setting that is not the usual one
    throughput   samples per second by batch, and by threads and streams
    load         open-loop arrivals, latency from the scheduled start, highest rate under a limit
    fresh        the program that a fresh process runs
    starts       fresh processes, one after the other
    cold_start   import, load, first call, calls until steady
    memory       peak memory beyond the libraries'
    energy       joules per call, where the machine tells
    deep         all of these in a row, as keys of the report
    environment  the machine and the packages that the figures belong to
    verdict      the one line a command prints
    formatting   numbers to text
    pictures     numbers to inline SVG
    report       a run folder's files to one self-contained page

Only ``runtimes`` touches torch; it, ``profilers``, ``sessions`` and ``throughput`` touch ONNX
Runtime or OpenVINO, and only inside functions.
"""
