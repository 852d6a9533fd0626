"""Data: folders, splits, batches, augmentations."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator
from torchvision.transforms._presets import ImageClassification

from compressor import folders
from compressor.augmentation import crop_and_flip, no_augmentation, shift
from compressor.data import (
    Images,
    augmentation_for,
    batches,
    class_names,
    first_size,
    normalise,
    open_data,
    own_size,
)
from compressor.errors import DataError
from compressor.splitting import split_rows
from compressor.synthetic import paint
from compressor.types import Preprocessing

SMALL = Preprocessing(crop=(8, 8), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))
GREY = Preprocessing(crop=(8, 8), mean=(0.5,), std=(0.2,))


def picture(seed: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def write_classes(folder: Path, counts: dict[str, int], first: int = 0) -> Path:
    number = first
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for _ in range(count):
            picture(number).save(folder / name / f"{number:04d}.png")
            number += 1
    return folder


def opened(folder: Path, outputs: int | None = 2, test: Path | None = None, seed: int = 0):  # type: ignore[no-untyped-def]
    return open_data(
        str(folder),
        test=str(test) if test else None,
        preprocessing=SMALL,
        outputs=outputs,
        seed=seed,
    )


def test_one_folder_is_split_alike_in_every_class_and_that_is_stated(tmp_path: Path) -> None:
    data = opened(write_classes(tmp_path / "pets", {"cat": 40, "dog": 20}))
    assert data.test is not None
    assert (len(data.train), len(data.validation), len(data.test)) == (48, 6, 6)
    assert torch.bincount(data.train.labels).tolist() == [32, 16]
    assert data.classes == ("cat", "dog")
    assert data.train_with_labels
    assert data.seen_test_share == 0
    assert "stratified split with seed 0: 48 train, 6 validation, 6 test" in data.notes[0]


def test_same_seed_gives_the_same_split_and_another_another(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "pets", {"cat": 20, "dog": 20})
    first, again, other = opened(folder), opened(folder), opened(folder, seed=1)
    assert torch.equal(first.train.pixels, again.train.pixels)
    assert not torch.equal(first.train.pixels, other.train.pixels)


def test_divided_folder_is_taken_as_given(tmp_path: Path) -> None:
    for number, (part, count) in enumerate({"train": 6, "val": 2, "test": 3}.items()):
        write_classes(tmp_path / part, {"a": count, "b": count}, first=100 * number)
    data = opened(tmp_path)
    assert data.test is not None
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 4, 6)
    assert "as given" in data.notes[0]


def test_missing_val_folder_is_cut_from_train(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 10, "b": 10})
    write_classes(tmp_path / "test", {"a": 2, "b": 2}, first=100)
    data = opened(tmp_path)
    assert data.test is not None
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 4)


def test_val_folder_without_test_is_measured_and_not_chosen_on(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 10, "b": 10})
    write_classes(tmp_path / "val", {"a": 3, "b": 3}, first=100)
    data = opened(tmp_path)
    assert data.test is not None
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 6)
    assert "val folder" in data.notes[0]


def test_one_photo_per_class_trains_unlabelled_on_all(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "photos", dict.fromkeys("abcdefghij", 1))
    data = opened(folder, outputs=10, test=folder)
    assert data.test is not None
    assert not data.train_with_labels
    assert len(data.train) == len(data.test) == 10
    assert data.seen_test_share == 1.0
    assert data.test.labels is not None
    assert any("unlabelled" in note for note in data.notes)
    assert any("seen 100 % of the test images" in note for note in data.notes)


def test_copied_test_images_are_found_by_content(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "pets", {"a": 10, "b": 10})
    test = write_classes(tmp_path / "held", {"a": 2, "b": 2}, first=100)
    picture(3).save(test / "a" / "renamed.bmp")
    data = opened(folder, test=test)
    assert data.seen_test_share == pytest.approx(1 / 5)
    assert "20 % of the test images" in data.notes[-1]


def test_flat_folder_is_unlabelled_and_accuracy_unknown(tmp_path: Path) -> None:
    for number in range(20):
        picture(number).save(tmp_path / f"{number}.png")
    data = opened(tmp_path, outputs=1000)
    assert data.test is None
    assert data.train.labels is None
    assert not data.train_with_labels
    assert any("accuracy is unknown" in note for note in data.notes)


def test_wrong_class_count_says_both_numbers(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "pets", {"a": 5, "b": 5})
    with pytest.raises(DataError, match=r"2 classes, the network has 10 outputs"):
        opened(folder, outputs=10)


def test_test_folder_of_other_classes_names_them(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "pets", {"a": 5, "b": 5})
    with pytest.raises(DataError, match=r"differ.*: b, c"):
        opened(folder, test=write_classes(tmp_path / "t", {"a": 2, "c": 2}))


@pytest.mark.parametrize("content", [b"", b"no picture at all"])
def test_unreadable_picture_is_named(tmp_path: Path, content: bytes) -> None:
    folder = write_classes(tmp_path / "pets", {"a": 5, "b": 5})
    (folder / "a" / "bad.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.jpg: not a readable picture") as caught:
        opened(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_truncated_picture_is_named(tmp_path: Path, ending: str) -> None:
    folder = write_classes(tmp_path / "pets", {"a": 5, "b": 5})
    bad = folder / "a" / f"bad.{ending}"
    picture(1, (64, 64)).save(bad)
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    with pytest.raises(DataError, match="bad"):
        opened(folder)


def test_missing_empty_and_mixed_folders_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no such folder"):
        opened(tmp_path / "absent")
    with pytest.raises(DataError, match="no pictures"):
        opened(tmp_path / "empty")
    mixed = write_classes(tmp_path / "mixed", {"a": 2})
    picture(0).save(mixed / "loose.png")
    with pytest.raises(DataError, match="both pictures"):
        opened(mixed)
    write_classes(tmp_path / "half" / "test", {"a": 2})
    with pytest.raises(DataError, match="no train folder"):
        opened(tmp_path / "half")


def test_set_that_would_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "LARGEST_SET_BYTES", 1000)
    with pytest.raises(DataError, match="stay in memory"):
        opened(write_classes(tmp_path / "pets", {"a": 5, "b": 5}))


@pytest.mark.parametrize("size", [(40, 60), (61, 47), (32, 32), (30, 90)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pictures_become_what_torchvision_makes_of_them(
    tmp_path: Path, size: tuple[int, int], interpolation: str
) -> None:
    from torchvision.transforms.functional import InterpolationMode

    picture(1, size).save(tmp_path / "x.png")
    ours = Preprocessing(
        crop=(28, 28), resize=32, mean=SMALL.mean, std=SMALL.std, interpolation=interpolation
    )
    theirs = ImageClassification(
        crop_size=28, resize_size=32, mean=SMALL.mean, std=SMALL.std,
        interpolation=InterpolationMode(interpolation),
    )  # fmt: skip
    found = normalise(folders.decode([tmp_path / "x.png"], ours).pixels, ours)
    torch.testing.assert_close(found[0], theirs(picture(1, size)))


def test_picture_of_the_right_size_is_not_resampled(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "x.png")
    found = folders.decode([tmp_path / "x.png"], SMALL).pixels
    assert np.array_equal(found[0].permute(1, 2, 0).numpy(), np.asarray(picture(1)))


def test_small_picture_is_enlarged_to_the_crop(tmp_path: Path) -> None:
    picture(1, (4, 5)).save(tmp_path / "x.png")
    assert folders.decode([tmp_path / "x.png"], SMALL).pixels.shape == (1, 3, 8, 8)


def test_grey_network_gets_grey_pictures(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "x.png")
    assert folders.decode([tmp_path / "x.png"], GREY).pixels.shape == (1, 1, 8, 8)


def test_deep_colour_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match="8 bits"):
        folders.decode([tmp_path / "x.png"], SMALL)


def test_digits_are_always_divided_alike_and_never_mirrored() -> None:
    digits = Preprocessing(crop=(32, 32), mean=SMALL.mean, std=SMALL.std)
    first = open_data("digits", preprocessing=digits, outputs=10, seed=0)
    again = open_data("digits", preprocessing=digits, outputs=10, seed=7)
    assert first.test is not None
    assert first.train.pixels.shape == (1078, 3, 32, 32)
    assert len(first.test) == 539
    assert torch.equal(first.train.pixels, again.train.pixels)
    assert not first.mirrored_is_same
    with pytest.raises(DataError, match="10 classes, the network has 1000"):
        open_data("digits", preprocessing=digits, outputs=1000, seed=0)


def test_synthetic_is_seeded_unlabelled_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_data("synthetic", preprocessing=SMALL, outputs=1000, seed=0)
    assert data.train.pixels.shape == (512, 3, 8, 8)
    assert data.test is None
    assert data.notes == (
        "accuracy is unknown: no data was given; only agreement with the teacher is reported",
    )
    assert torch.equal(paint(9, (8, 8), 3, 5), paint(9, (8, 8), 3, 5))
    assert not torch.equal(paint(9, (8, 8), 3, 5), paint(9, (8, 8), 3, 6))


def test_sizes_of_data_are_known_beforehand(tmp_path: Path) -> None:
    picture(1, (10, 14)).save(tmp_path / "x.png")
    assert own_size("digits") == first_size("digits") == (32, 32)
    assert own_size(str(tmp_path)) is None
    assert first_size(str(tmp_path)) == (10, 14)
    assert first_size("synthetic") is None


def numbered(count: int) -> Images:
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    return Images(pixels=pixels.contiguous(), labels=torch.arange(count))


def test_evaluation_batches_drop_nothing_and_keep_order() -> None:
    labels = [y for _, y in batches(numbered(10), SMALL, 4) if y is not None]
    assert torch.cat(labels).tolist() == list(range(10))


def test_training_batches_are_shuffled_and_whole() -> None:
    seen = [y for _, y in batches(numbered(10), SMALL, 4, generator=Generator().manual_seed(0))]
    assert [len(y) for y in seen if y is not None] == [4, 4]
    assert seen[0] is not None
    assert seen[0].tolist() != [0, 1, 2, 3]


def test_only_partial_batch_is_kept() -> None:
    found = list(batches(numbered(3), SMALL, 4, generator=Generator().manual_seed(0)))
    assert len(found) == 1


def test_images_and_labels_stay_together() -> None:
    for x, y in batches(numbered(10), SMALL, 4, generator=Generator().manual_seed(0)):
        assert y is not None
        expected = (y / 255 - SMALL.mean[0]) / SMALL.std[0]
        torch.testing.assert_close(x[:, 0, 0, 0], expected)


def test_shifted_picture_is_a_window_of_the_padded_one() -> None:
    pixels = torch.arange(1, 65, dtype=torch.uint8).view(1, 1, 8, 8)
    moved = shift(2)(pixels, Generator().manual_seed(1))
    padded = torch.nn.functional.pad(pixels, (2, 2, 2, 2))
    windows = [padded[:, :, t : t + 8, x : x + 8] for t in range(5) for x in range(5)]
    assert any(torch.equal(moved, window) for window in windows)


def test_augmentation_is_repeatable_and_suits_the_data(tmp_path: Path) -> None:
    pixels = paint(6, (8, 8), 3, 0)
    augment = crop_and_flip(1)
    one, two = (augment(pixels, Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, pixels)
    assert no_augmentation(pixels, Generator()) is pixels
    data = opened(write_classes(tmp_path / "pets", {"a": 5, "b": 5}))
    assert augmentation_for(data)(pixels, Generator().manual_seed(0)).shape == pixels.shape


@pytest.mark.parametrize("count", [3, 7, 100])
def test_split_covers_every_row_once(count: int) -> None:
    parts = split_rows(torch.arange(count) % 3, count, (0.8, 0.1, 0.1), 0)
    assert torch.cat(parts).sort().values.tolist() == list(range(count))
    assert all(len(part) for part in parts)


@pytest.mark.real_data
def test_imagenet_photos_open_as_described() -> None:
    folder = os.environ.get("COMPRESSOR_DATA")
    if not folder:
        pytest.skip("COMPRESSOR_DATA names no folder of real data")
    photos = str(Path(folder) / "imagenet_photos")
    data = open_data(
        photos,
        test=photos,
        preprocessing=Preprocessing(crop=(224, 224), resize=256, mean=SMALL.mean, std=SMALL.std),
        outputs=1000,
        seed=0,
    )
    assert data.test is not None
    assert len(data.test) == len(data.train) == 1000
    assert data.seen_test_share == 1.0


def test_class_names_are_those_of_the_training_folder(tmp_path: Path) -> None:
    write_classes(tmp_path / "plain", {"b": 1, "a": 1})
    write_classes(tmp_path / "parts" / "train", {"x": 1, "y": 1, "z": 1})
    write_classes(tmp_path / "parts" / "test", {"x": 1})
    assert class_names(str(tmp_path / "plain")) == ("a", "b")
    assert class_names(str(tmp_path / "parts")) == ("x", "y", "z")
    assert class_names("digits") == tuple("0123456789")


def test_pictures_without_classes_have_no_class_names(tmp_path: Path) -> None:
    picture(0).save(tmp_path / "x.png")
    with pytest.raises(DataError, match="no class folders"):
        class_names(str(tmp_path))
    with pytest.raises(DataError, match="made-up pictures"):
        class_names("synthetic")
