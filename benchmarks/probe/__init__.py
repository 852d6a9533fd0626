"""Width-latency staircases: measured once for a runtime on this machine, kept, and told.

    targets        what is probed: runtime, precision, threads, batch
    onnx_graphs    an operator's shape as a small ONNX graph, float32 or int8
    torch_modules  the same as a module
    opening        an operator becomes a call that a runtime is ready to run
    stairs         seconds of operators at several widths, in turn, until the time is spent
    caches         what was measured, on disk, by environment
    probing        layers of a network to staircases: cached ones, and what is missing measured
    choices        staircases to the widths that a plan may take, for one teacher
    telling        what was found, as lines

``compressor.staircases`` has the values and says which widths are worth having.
"""
