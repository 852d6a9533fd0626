"""The preprocessing and label files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from compressor.errors import FolderError, OptionError
from compressor.types import Preprocessing
from export.preprocessing import read_preprocessing, write_preprocessing

IMAGENET = Preprocessing(
    crop=(224, 192), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize=256
)


def test_config_says_each_step_as_hugging_face_reads_it(tmp_path: Path) -> None:
    (path,) = write_preprocessing(tmp_path, IMAGENET)
    content = json.loads(path.read_text())
    assert path.name == "preprocessor_config.json"
    assert content["size"] == {"shortest_edge": 256}
    assert content["crop_size"] == {"height": 224, "width": 192}
    assert content["image_mean"] == [0.485, 0.456, 0.406]
    assert (content["resample"], content["do_resize"], content["do_center_crop"]) == (2, True, True)
    assert content["rescale_factor"] == pytest.approx(1 / 255)


def test_pictures_that_are_not_resized_say_so(tmp_path: Path) -> None:
    plain = Preprocessing(crop=(8, 8), mean=(0.5,), std=(0.5,))
    content = json.loads(write_preprocessing(tmp_path, plain)[0].read_text())
    assert content["do_resize"] is False
    assert content["do_convert_rgb"] is False


def test_labels_keep_class_order_and_letters(tmp_path: Path) -> None:
    paths = write_preprocessing(tmp_path, IMAGENET, ("zebra", "Äffchen"))
    assert json.loads(paths[1].read_text(encoding="utf-8")) == ["zebra", "Äffchen"]


def test_unknown_interpolation_is_refused(tmp_path: Path) -> None:
    odd = Preprocessing(crop=(8, 8), mean=(0.5,), std=(0.5,), interpolation="magic")
    with pytest.raises(OptionError, match="'magic' is not one of nearest"):
        write_preprocessing(tmp_path, odd)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("labels", [None, ("ant", "bée", "/x")])
@pytest.mark.parametrize("resize", [None, 256])
@pytest.mark.parametrize("interpolation", ["nearest", "bicubic"])
def test_what_was_written_is_read(
    labels: tuple[str, ...] | None, resize: int | None, interpolation: str, tmp_path: Path
) -> None:
    written = replace(IMAGENET, resize=resize, interpolation=interpolation)
    write_preprocessing(tmp_path, written, labels)
    read, names = read_preprocessing(tmp_path)
    assert (replace(read, origin=written.origin), names) == (written, labels)


@pytest.mark.parametrize("content", ["", "{}", '{"crop_size": 3}'])
def test_what_makes_no_sense_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(FolderError, match=r"preprocessor_config\.json cannot be read"):
        read_preprocessing(tmp_path)
