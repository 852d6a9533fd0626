"""A row becomes a network with random weights, and inputs for it.

Comes in: a ``Network``.  Goes out: an ``nn.Module`` in which nothing is trivially zero or one, and
seeded inputs.  Nothing is downloaded.  Knows nothing of graphs or plans.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from benchmarks.studies.networks.rows import Network

SMALL = 0.05  # a gain below this in all its elements hides what it scales


@dataclass(frozen=True, slots=True)
class Inputs:
    """Arguments of a forward call."""

    args: tuple[Tensor, ...] = ()
    kwargs: dict[str, Tensor] = field(default_factory=dict)


def build(network: Network, seed: int = 0) -> nn.Module:
    """The network in eval mode, weights, gains, offsets and statistics drawn from the seed.

    Raises ImportError where its library is not installed.
    """
    with torch.random.fork_rng(devices=()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own, about initialisation and new names
        torch.manual_seed(seed)
        module = _create(network).eval()
        randomise(module, seed)
        _fit_statistics(module, inputs(network, batch=2, seed=seed), seed)
    return module


def inputs(network: Network, batch: int = 2, seed: int = 0) -> Inputs:
    """Normal pictures, or tokens with an attention mask under which odd samples are shorter."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, *network.shape)
    if not network.is_text:
        return Inputs(args=(torch.randn(shape, generator=generator),))
    tokens = torch.randint(5, network.vocabulary, shape, generator=generator)  # below 5: special
    mask = torch.ones(shape, dtype=torch.int64)
    mask[1::2, -3:] = 0
    return Inputs(kwargs={"input_ids": tokens, "attention_mask": mask})


def _create(network: Network) -> nn.Module:
    if network.library == "timm":
        return _from_timm(network)
    if network.library == "transformers":
        from benchmarks.studies.networks.transformers_rows import configured

        return configured(network)
    if network.part:
        from benchmarks.studies.networks.detector_parts import detector_part

        return detector_part(network)
    from torchvision import models

    found: nn.Module = models.get_model(network.factory, weights=None, **dict(network.options))
    return found


def _from_timm(network: Network) -> nn.Module:
    import timm

    found: nn.Module = timm.create_model(network.factory)
    return found


def randomise(module: nn.Module, seed: int) -> None:
    """Draw offsets, gains and parameters that start constant or tiny; matrices stay as they are."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if not parameter.is_floating_point() or not parameter.numel():
                continue
            constant = bool(parameter.max() == parameter.min()) or bool(
                parameter.abs().max() < SMALL and parameter.ndim < 2
            )
            if name.endswith("bias") and parameter.ndim < 2:
                parameter.normal_(0.0, 0.3, generator=generator)
            elif constant or parameter.ndim < 2:
                parameter.uniform_(0.5, 1.5, generator=generator)
                parameter.mul_(torch.randn(parameter.shape, generator=generator).sign())


def _fit_statistics(module: nn.Module, given: Inputs, seed: int) -> None:
    """Running statistics near those of what reaches them, so that values stay of order one.

    Statistics drawn blindly let a deep network's values grow or vanish, and a proof on values that
    have vanished proves nothing.
    """
    generator = torch.Generator().manual_seed(seed)

    def fit(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        mean, variance = norm.running_mean, norm.running_var
        assert isinstance(mean, Tensor)
        assert isinstance(variance, Tensor)
        spread = float(args[0].std()) or 1.0
        mean.copy_(
            float(args[0].mean()) + 0.3 * spread * torch.randn(mean.shape, generator=generator)
        )
        variance.copy_(
            spread**2 * torch.empty_like(variance).uniform_(0.5, 2.0, generator=generator)
        )

    norms = [m for m in module.modules() if isinstance(getattr(m, "running_var", None), Tensor)]
    hooks = [norm.register_forward_pre_hook(fit) for norm in norms]
    with torch.no_grad():
        if hooks:
            module(*given.args, **given.kwargs)
    for hook in hooks:
        hook.remove()
    for norm in norms:  # what the pass did not reach, or reached with one value
        mean, variance = norm.running_mean, norm.running_var
        assert isinstance(mean, Tensor)
        assert isinstance(variance, Tensor)
        mean.nan_to_num_(0.0)
        variance.nan_to_num_(1.0).clamp_(min=1e-3)
