"""Tracing: which sizes are free, and what is said where they cannot be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.errors import CaptureError
from compressor.graphs import capture

TOKENS = torch.randint(11, (2, 6), generator=torch.Generator().manual_seed(0))


UNREAD = "2 tensors that evaluation does not read are left out: pictures"


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.pictures = nn.Embedding(11, 16), nn.Linear(16, 16)
        self.head = nn.Linear(16, 4)


class Asking(Reader):
    """Tokens, a mask of pairs, vectors over the same sequence, a picture of that size."""

    def forward(self, tokens: Tensor, pairs: Tensor, frames: Tensor, picture: Tensor) -> Tensor:
        x = self.words(tokens) + self.pictures(frames) + picture.mean((1, 2, 3))[:, None, None]
        return self.head(pairs.to(x.dtype) @ x)


def test_lengths_are_free_wherever_they_come_back_and_pictures_are_not() -> None:
    pairs = torch.ones(2, 6, 6, dtype=torch.bool)
    args = (TOKENS, pairs, torch.randn(2, 6, 16), torch.randn(2, 3, 6, 6))
    graph = capture(Asking(), args)
    assert graph.free == ((0, 1), (0, 1, 2), (0, 1), (0,))
    assert list(graph.sizes.hints.values()) == [1, 6, 6], "pairs need not be as many as words"
    assert not graph.notes


def test_inputs_that_are_not_the_networks_are_told() -> None:
    with pytest.raises(CaptureError, match=r"Asking takes 4 inputs \(tokens, pairs, .*'pairs'"):
        capture(Asking(), (TOKENS,))


class Frames(Reader):
    def forward(self, frames: Tensor) -> Tensor:
        return self.head(torch.tanh(self.pictures(frames)))


def test_the_caller_may_name_what_is_free() -> None:
    frames = torch.randn(2, 6, 16)
    assert capture(Frames(), (frames,)).free == ((0,),)
    graph = capture(Frames(), (frames,), free={"frames": (0, 1)})
    assert graph.free == ((0, 1),)
    assert graph(torch.randn(3, 9, 16)).shape == (3, 9, 4)
    with pytest.raises(CaptureError, match="no input 'frame' to free; the inputs are frames"):
        capture(Frames(), (frames,), free={"frame": (0, 1)})


class Stuck(Reader):
    """Six words, as a table says."""

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.words(tokens) + torch.ones(6, 16))


class Refusing(Reader):
    """Python counts the words before the batch is known to be free."""

    def forward(self, tokens: Tensor) -> Tensor:
        if not isinstance(tokens.shape[1], int):
            raise RuntimeError("cannot count words.\nmore lines")
        return self.head(self.words(tokens))


def test_a_length_that_the_network_fixes_is_fixed() -> None:
    graph = capture(Stuck(), (TOKENS,))
    assert graph.free == ((0,),)
    assert graph.notes == ("tokens: dimension 1 is fixed at 6 by the network", UNREAD)


def test_a_length_that_export_refuses_is_fixed_and_said() -> None:
    graph = capture(Refusing(), (TOKENS,))
    assert graph.free == ((0,),)
    assert graph(TOKENS[:1]).shape == (1, 6, 4)
    told = "the sequence length is fixed, as torch.export reports: cannot count words"
    assert graph.notes == (told, UNREAD)


class Keeping(Reader):
    """Keeps what it read, unless told not to."""

    class Settings:
        use_cache = True

    def __init__(self) -> None:
        super().__init__()
        self.config = self.Settings()

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        x = self.words(tokens)
        return (self.head(x), x) if self.config.use_cache else (self.head(x),)


def test_caches_are_off_during_the_capture_only() -> None:
    network = Keeping()
    graph = capture(network, (TOKENS,))
    assert len(graph(TOKENS)) == 1
    assert len(network(TOKENS)) == 2
    assert graph.notes == ("the cache of keys and values is switched off (use_cache)", UNREAD)


class Branching(Reader):
    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens)
        return self.head(x) if x.sum() > 0 else x


class Unknown(Reader):
    class Box:
        def __init__(self, held: Tensor) -> None:
            self.held = held

    def forward(self, tokens: Tensor) -> Box:
        return self.Box(self.words(tokens))


@pytest.mark.parametrize(
    ("network", "advice"),
    [
        (Branching, "write the branch with torch.where"),
        (Unknown, "return tensors in tuples, lists or dicts"),
    ],
)
def test_refusals_say_what_to_do_and_nothing_else_is_said(
    network: type[nn.Module], advice: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CaptureError, match=r"torch\.export cannot capture") as told:
        capture(network(), (TOKENS,))
    assert advice in str(told.value)
    assert "\n" not in str(told.value)
    assert capfd.readouterr() == ("", "")
