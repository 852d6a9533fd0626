"""Deployables to samples to statistics to a report.

    workloads    what is run: runtime, device, precision, batch, threads
    runtimes     what runs it: ONNX Runtime on the CPU, torch on the CPU or CUDA
    sampling     paired, interleaved timing of teacher, student and a second copy of the teacher
    statistics   samples to speed-up, interval, noise floor and a word for it
    comparison   the three above in a row; raw samples to files, one row per workload
    environment  the machine and the packages that the figures belong to
    verdict      the one line a command prints
    formatting   numbers to text
    pictures     numbers to inline SVG
    report       a run folder's files to one self-contained page

Only ``runtimes`` touches torch or ONNX Runtime, and only inside functions.
"""
