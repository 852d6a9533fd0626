"""From a finished graph to a folder of files that ship, each checked after it was written.

In the order they are used:

    paths          absolute paths reduced, or found where none may be
    deployables    what the report says of one file
    descriptions   what a deployable says about itself (metadata of the ONNX file)
    rewrites       the exporter's graph made friendly to runtimes, and stripped
    onnx_files     exported program -> ONNX file
    prediction     ONNX file -> logits, accuracy, agreement
    parity         ONNX file against the torch graph
    programs       student.pt2
    weights        student.safetensors
    preprocessing  preprocessor_config.json, labels.json
    manifest       manifest.json: command, seed, versions, the hash of every file
    verification   a run folder checked without torch, and its golden answers
    shipping       teacher and student -> the files of a run folder, each checked

Import the module wanted: the package itself imports nothing, so that verification stays without
torch.
"""
