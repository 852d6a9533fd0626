"""From a finished graph to a folder of files that ship, each checked after it was written.

In the order they are used:

    precisions     the precisions a network ships in
    paths          absolute paths reduced, or found where none may be
    deployables    what the report says of one file
    descriptions   what a deployable says about itself (metadata of the ONNX file)
    rewrites       the exporter's graph made friendly to runtimes, and stripped
    onnx_files     exported program -> ONNX file
    twins          ONNX file -> the same for batches of 1, static throughout
    prediction     ONNX file -> logits, accuracy, agreement
    evaluators     what runs a file that ONNX Runtime cannot
    parity         ONNX file against the torch graph
    entropy        where to clip a distribution for few levels
    calibration    ranges of a file's activations, from real inputs
    half           fp32 graph -> float16 or bfloat16, fragile operators kept
    quantisation   fp32 file -> int8
    lowering       fp32 file -> its files of lower precision, each checked
    divergence     the tensors at which most error enters
    advice         what each file can do, and whether its precision is advised
    programs       student.pt2
    weights        student.safetensors
    preprocessing  preprocessor_config.json, labels.json
    outputs        what a network gives, and what it is taken for
    golden         golden.npz: a few inputs and each file's answers
    shipping       teacher and student -> the files of a run folder, each checked
    triton         a model repository for the Triton server
    model_cards    README.md: measured facts, and code that runs
    materials      bom.cdx.json: a CycloneDX bill of materials
    manifest       manifest.json: command, seed, versions, the hash of every file
    signatures     model.sig, over all of it
    products       these five in their order: a folder that describes and vouches for itself
    delivery       a finished run or one network -> such a folder of the student alone
    replays        golden inputs in every runtime that is installed
    verification   hashes, signature and replays, without torch

Import the module wanted: the package itself imports nothing, so that verification stays without
torch.
"""
