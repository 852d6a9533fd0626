"""compressor: a trained network goes in, a physically smaller trained network comes out.

Modules, in the order a network passes through them:

    errors         what is refused, and the exit status it ends in
    types          the plain values between stages
    memory         out of memory, and half as much at a time
    refusals       what is said where a disk or a path refuses
    locks          one process at a time writes into a folder
    files          files written whole or not at all
    saving         tensors in the forms of libraries, whose errors are the disk's
    documents      JSON that people may have edited, read strictly
    unpacking      how much a zip would unpack to
    stopping       signals, and when a build ends by them
    cards          what is known about a trained teacher, beside its weights
    checkpoints    weight files, read without running anything in them
    vetting        what the text of an exported program may say
    archives       .pt2 archives, scanned before they are loaded
    architectures  what an architecture is, from a file or timm
    fitting        weights beside an architecture, differences named
    recognition    an architecture by name, or by keys and shapes
    preprocessing  from a picture to the network's input
    loading        a file becomes a Teacher
    folders        pictures of a folder, decoded
    splitting      seeded splits
    synthetic      pictures made or bundled
    augmentation   random crops, flips and shifts
    data           images in memory, and batches of them
    refinements    where two shapes can be cut alike
    labels         the label algebra: which units an element depends on
    rules          how labels pass through each operator
    annotation     plain facts on every node, primes for free sizes
    flattening     blocks written out, results made plain
    tracing        torch.export called, sizes left free
    carriers       operators that take a dimension along
    bundles        packed projections cut into their parts
    spellings      operators by the first of their two names
    results        operators of several results, of which one is read
    canonical      one way to write what can be written in several
    chance         networks that draw random numbers refused
    graphs         a network becomes a Graph: capture
    folding        parameter-only work done once
    overlaps       stored tensors that share memory
    stored         what a graph stores, with its units
    labelling      one pass of the rules over a graph
    analysis       groups, frozen dimensions with reasons, cost terms
    stepping       a graph executed node by node
    moments        least squares for rows that are never held at once
    equations      linear layers as systems of equations
    successors     what follows a layer before anything non-linear
    scoring        a number per unit
    readers        who reads a group's units, and what they read
    elimination    the order in which units go, readers refitted
    criteria       what readers lose
    staircases     what widths cost on a runtime, and which are worth having
    operators      the shapes of a network's layers
    costs          what a choice of kept units costs
    ranking        the order in which units go
    widths         how many units each group keeps
    expectations   what a target is expected to take, and which widths are worth most on it
    planning       the plan
    densities      the plan that a weight-sparse teacher's layers ask for
    kinds          what a group's units are to people
    dimensions     parameters dimension by dimension
    explanation    what people ask of an analysis
    narrowing      what a plan does, layer by layer
    flow           a graph thinned to layers and joins
    placing        where they stand in a picture
    tables         answers as lines of text
    drawing        the picture of a network by depth
    cuts           a plan laid over labels: which rows stay
    rewriting      arguments of nodes for the rows that stay
    removal        mask and remove
    proof          masked teacher and student, node by node
    evaluation     accuracy and agreement
    sensitivity    what groups are worth, measured on the output
    layers         torch.nn layers made narrower in place
    attentions     what attention classes call their sizes
    equality       a module and a graph give the same outputs
    shrinking      a plan applied to the user's own class
    inversion      pictures synthesised from batch-norm statistics
    reconstruction  layers refitted in closed form
    refitting      repair: values refitted without gradients
    objectives     what training minimises
    representations  how alike two networks represent a batch
    features       node values seen while training
    keeping        how far a piece of work is, and who keeps it
    snapshots      the same on disk
    accumulation   a batch in parts where it does not fit in memory
    passes         which images come next
    lessons        what is asked with a batch, and the loss of the answers
    self_distillation  what a network asks of itself
    optimisation   optimiser, step sizes over the run, averaged weights
    pacing         how much of a run is over
    validation     which weights are best
    logbook        what a training writes down
    processes      several processes as one run
    acceleration   which precision and layout trains fastest
    training       one training step on accelerate
    loop           the training loop
    distillation   a student trained by a teacher or by itself
    choosing       ways to plan, one tried against another
    sparsity       single weights that are zero and stay it
    nested         plans inside plans
    cutters        what goes at one step of pruning while training
    tutors         who teaches meanwhile
    stretches      a length shared out over the steps
    gradual        pruning while training
    lookahead      scores after a few steps of self-distillation
    samples        which images are looked at
    phases         the stretches of recipes, as values
    ways           ways to choose units, by name
    recipes        named tuples of phases
    watching       who watches a build, seconds by stage
    teaching       an architecture trained from fresh weights
    preparing      all that is known before anything is removed
    judging        networks measured on the same images
    execution      the phases of a recipe, one after the other
    standings      where a run stopped, on disk
    reporting      the entries of the report
    runs           the run folder
    building       the pipeline
    console        what a person sees on the terminal
    options        what may be typed, and what it means
    cli            the command line

Public names are listed below and loaded when first used, so that ``import compressor`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compressor.analysis import analyze
    from compressor.building import build
    from compressor.distillation import distill
    from compressor.documents import read_as
    from compressor.graphs import Graph, capture
    from compressor.loading import Teacher, load
    from compressor.planning import plan
    from compressor.proof import prove
    from compressor.refitting import repair
    from compressor.removal import mask, remove
    from compressor.scoring import magnitude, score, taylor
    from compressor.shrinking import shrink
    from compressor.types import Analysis, Budget, Plan, Proof, Scores

_HOMES = {
    "Analysis": "types",
    "Budget": "types",
    "Graph": "graphs",
    "Plan": "types",
    "Proof": "types",
    "Scores": "types",
    "Teacher": "loading",
    "analyze": "analysis",
    "build": "building",
    "capture": "graphs",
    "distill": "distillation",
    "load": "loading",
    "magnitude": "scoring",
    "mask": "removal",
    "plan": "planning",
    "prove": "proof",
    "read_as": "documents",
    "remove": "removal",
    "repair": "refitting",
    "score": "scoring",
    "shrink": "shrinking",
    "taylor": "scoring",
}

__all__ = [
    "Analysis",
    "Budget",
    "Graph",
    "Plan",
    "Proof",
    "Scores",
    "Teacher",
    "analyze",
    "build",
    "capture",
    "distill",
    "load",
    "magnitude",
    "mask",
    "plan",
    "prove",
    "read_as",
    "remove",
    "repair",
    "score",
    "shrink",
    "taylor",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'compressor' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"compressor.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
