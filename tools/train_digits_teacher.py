"""Trains the demo's teacher: torchvision's resnet18 on scikit-learn's handwritten digits.

    python tools/train_digits_teacher.py runs/digits/resnet18.pt

A state dict is written, once; when the file is there nothing is done.  Two minutes or less on two
cores.  Not part of the product: any trained network will do for ``compressor build``.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from compressor.augmentation import shift
from compressor.data import ImageData, Images, batches, normalise, open_data
from compressor.loading import Teacher, untrained
from compressor.types import Preprocessing

IMAGE_SIZE = 32
EPOCHS = 12
BATCH = 64
LEARNING_RATE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.file.exists():
        print(f"{options.file} is there already")
        return
    torch.set_num_threads(options.threads)
    teacher = untrained(
        "torchvision:resnet18", classes=10, seed=options.seed, image_size=IMAGE_SIZE
    )
    assert teacher.module is not None  # only a .pt2 comes without
    data = open_data("digits", preprocessing=teacher.preprocessing, outputs=10, seed=options.seed)
    train(teacher.module, data, epochs=options.epochs, seed=options.seed)
    test = data.test or data.validation
    share = accuracy(teacher.module, test, data.preprocessing)
    save(teacher, options.file)
    print(f"{options.file}: top-1 {100 * share:.1f} % on {len(test)} test images")


def train(network: nn.Module, data: ImageData, *, epochs: int, seed: int) -> None:
    """SGD with one learning-rate cycle; pictures are shifted by a few pixels."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=LEARNING_RATE, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    steps = epochs * (len(data.train) // BATCH)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, steps, pct_start=0.2)
    start = time.monotonic()
    for epoch in range(1, epochs + 1):
        network.train()
        for pixels, labels in batches(
            data.train, data.preprocessing, BATCH, generator=generator, augment=shift(2)
        ):
            assert labels is not None
            loss = F.cross_entropy(network(pixels), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            cycle.step()
        share = accuracy(network, data.validation, data.preprocessing)
        seconds = time.monotonic() - start
        print(
            f"epoch {epoch}/{epochs}: validation {100 * share:.1f} %, {seconds:.0f} s", flush=True
        )


def accuracy(network: nn.Module, images: Images, preprocessing: Preprocessing) -> float:
    """Share of images whose label the network finds."""
    assert images.labels is not None
    network.eval()
    with torch.no_grad():
        found = network(normalise(images.pixels, preprocessing)).argmax(dim=1)
    return (found == images.labels).float().mean().item()


def save(teacher: Teacher, file: Path) -> None:
    """Under another name first, so that a stopped run leaves no half of a file."""
    assert teacher.module is not None
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished")
    torch.save(teacher.module.state_dict(), unfinished)
    os.replace(unfinished, file)


if __name__ == "__main__":
    main()
