"""Signatures by a key of one's own, and what they hold against."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from compressor.errors import MissingExtraError, OptionError
from compressor.locks import LOCK_FILE, held
from export import signatures
from export.manifest import write_manifest
from export.signatures import check_key, check_signature, sign
from export.verification import verify

Plain = serialization.NoEncryption


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of keys: one and other are good, rsa, locked and text are not."""
    pytest.importorskip("model_signing.signing", exc_type=ImportError)
    folder = tmp_path_factory.mktemp("keys")
    good = {"one": ec.SECP256R1(), "other": ec.SECP384R1()}
    private = {name: ec.generate_private_key(curve) for name, curve in good.items()}
    locked = serialization.BestAvailableEncryption(b"word")
    made = [
        *((name, key, Plain()) for name, key in private.items()),
        ("rsa", rsa.generate_private_key(65537, 2048), Plain()),
        ("locked", private["one"], locked),
    ]
    for name, key, encryption in made:
        form = serialization.PrivateFormat.PKCS8
        content = key.private_bytes(serialization.Encoding.PEM, form, encryption)
        (folder / f"{name}.pem").write_bytes(content)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (folder / f"{name}.pub").write_bytes(public)
    (folder / "text.pem").write_text("no key")
    return folder


@pytest.fixture
def folder(keys: Path, tmp_path: Path) -> Path:
    """A small signed folder."""
    made = tmp_path / "model"
    (made / "onnx").mkdir(parents=True)
    (made / "onnx" / "student.onnx").write_bytes(b"model")
    write_manifest(made, ("export",), 0, {})
    sign(made, keys / "one.pem")
    return made


def test_a_signed_folder_holds_for_its_key_and_no_other_also_under_another_name(
    folder: Path, keys: Path
) -> None:
    assert check_signature(folder, keys / "one.pub") == ()
    (line,) = check_signature(folder, keys / "other.pub")
    assert line.startswith("model.sig: does not hold for this key (Key mismatch")
    moved = folder.rename(folder.with_name("moved"))
    found = verify(moved, public_key=keys / "one.pub")
    assert (found.passed, found.signed) == (True, True)


def test_a_signature_is_checked_without_torch(folder: Path, keys: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from compressor.cli import main\n"
        "sys.argv = ['compressor', 'verify', sys.argv[1], '--public-key', sys.argv[2]]\n"
        "main()"
    )
    command = [sys.executable, "-c", code, str(folder), str(keys / "one.pub")]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("signature holds\n")


def test_the_library_itself_agrees(folder: Path, keys: Path) -> None:
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
    options = ["--signature", str(folder / "model.sig"), "--public_key", str(keys / "one.pub")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert "Verification succeeded" in done.stdout, done.stderr


@pytest.mark.parametrize("file", ["manifest.json", "onnx/student.onnx"])
def test_a_change_that_the_manifest_follows_does_not_hold(
    file: str, folder: Path, keys: Path
) -> None:
    (folder / file).write_bytes(b"another model")
    write_manifest(folder, ("export", "anew"), 0, {})
    assert verify(folder, skip_signature=True).passed
    found = verify(folder, public_key=keys / "one.pub")
    assert found.differences[0].startswith("model.sig: does not hold")


def test_no_bit_of_the_signature_can_change_unseen(folder: Path, keys: Path) -> None:
    path = folder / "model.sig"
    whole = path.read_bytes()
    unseen = []
    for place in random.Random(0).sample(range(len(whole)), 600):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 7
        path.write_bytes(changed)
        if not check_signature(folder, keys / "one.pub"):
            unseen.append(place)
    assert unseen == []


def test_an_unsigned_folder_is_not_taken_for_a_signed_one(folder: Path, keys: Path) -> None:
    (folder / "model.sig").unlink()
    found = verify(folder, public_key=keys / "one.pub")
    assert found.differences == ("model.sig: missing, the folder is not signed",)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rsa", "not an elliptic-curve key"),
        ("locked", "is encrypted"),
        ("text", "Unable to load PEM"),
        ("none", "No such file"),
    ],
)
def test_keys_that_cannot_sign_are_refused(name: str, reason: str, keys: Path) -> None:
    with pytest.raises(OptionError, match=rf"--sign-key .*{reason}.*; give an elliptic-curve key"):
        check_key(keys / f"{name}.pem")


def test_a_key_that_cannot_check_is_refused(folder: Path, keys: Path) -> None:
    with pytest.raises(OptionError, match="--public-key"):
        check_signature(folder, keys / "text.pem")


def test_without_the_library_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'compressor\[signing\]'"):
        signatures.check_key(tmp_path / "key.pem")


def test_the_lock_of_the_build_that_signs_is_no_part_of_what_is_signed(
    folder: Path, keys: Path
) -> None:
    with held(folder / LOCK_FILE, "compressor build"):
        write_manifest(folder, ("export",), 0, {})
        sign(folder, keys / "one.pem")
        assert (folder / LOCK_FILE).is_file()
        assert check_signature(folder, keys / "one.pub") == ()
    assert check_signature(folder, keys / "one.pub") == ()
    (folder / "more").touch()
    assert len(check_signature(folder, keys / "one.pub")) == 1
