"""SDP's phase: prune while training.

Comes in: a ``Standing``.  Goes out: the one after the phase.  Knows nothing of files.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import msgspec
import torch

from compressor import gradual
from compressor.cutters import MaskedWeights
from compressor.execution.following import carry_out
from compressor.execution.standing import (
    Length,
    Site,
    Standing,
    cut,
    measured,
    on_cpu,
    trained,
)
from compressor.phases import PruneGradually
from compressor.stretches import most_steps


@carry_out.register
def prune_gradually(
    phase: PruneGradually, standing: Standing, site: Site, length: Length
) -> Standing:
    assert length is not None  # ``require_possible``
    steps = most_steps(length, phase.steps)
    dense = site.placed(site.graph)
    teach, observed = phase.make_teach(dense)
    cutter = phase.make_cutter(dense, site.analysis, site.budget, site.placed_sample())
    training = partial(
        gradual.prune_gradually,
        site.placed(standing.student),
        site.data,
        cutter,
        teach,
        steps=steps,
        schedule=phase.schedule,
        length=length,
        judge=site.graph,
        generator=torch.Generator().manual_seed(site.seed),
        observed=observed,
        optimisation=phase.settings(standing.student),
        device=site.device,
        keeper=site.keeper,
        progress=site.listener.training,
    )
    found = trained(site, f"{phase.name}, {steps} steps, for {length}", training)
    record = {
        "seconds": round(found.seconds, 3),
        "epochs": round(found.epochs, 2),
        "steps": msgspec.to_builtins(found.history),
    }
    if isinstance(found.gone, MaskedWeights):
        after = replace(standing, mask={n: m.cpu() for n, m in found.gone.mask.items()})
        after = measured(after, site, "pruned", on_cpu(found.graph), *found.notes)
    else:
        after = cut(standing, site, on_cpu(found.whole), found.gone.plan)
        after = replace(after, notes=(*after.notes, *found.notes))
    return replace(after, phases=(*after.phases, record))
