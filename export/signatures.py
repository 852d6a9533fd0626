"""``model.sig``: a signature over every file of a folder, the manifest too.

Comes in: a folder with its manifest, a key.  Goes out: a signature in the form of OpenSSF model
signing (an in-toto statement in a sigstore bundle), or what is wrong with it.  The work is that of
the library ``model-signing`` with a key of one's own: no network, no identity.  Knows nothing of
what the files hold, nor of torch.
"""

from __future__ import annotations

import json
from pathlib import Path

from compressor.errors import MissingExtraError, OptionError
from compressor.files import replacing
from compressor.locks import LOCK_FILE
from export.manifest import SIGNATURE_FILE

IGNORED = (SIGNATURE_FILE, LOCK_FILE)  # the latter goes when the folder is complete
ADVICE = "give an elliptic-curve key (P-256, P-384 or P-521) in PEM form, without a password"


def check_key(key: Path) -> None:
    """Raises OptionError for what cannot sign, MissingExtraError where the library is absent."""
    _require_library()
    from model_signing import signing

    try:
        signing.Config().use_elliptic_key_signer(private_key=key)
    except Exception as error:  # the library and its cryptography share no kind of error
        raise OptionError(f"--sign-key {key}: {_reason(error)}; {ADVICE}") from error


def sign(folder: Path, key: Path) -> Path:
    """Sign every file of ``folder`` but the signature.  Raises as ``check_key`` does.

    Two signatures of the same bytes differ: ECDSA draws a number for each.
    """
    check_key(key)
    from model_signing import hashing, signing

    signer = signing.Config().use_elliptic_key_signer(private_key=key)
    signer.set_hashing_config(hashing.Config().set_ignored_paths(paths=IGNORED))
    path = folder / SIGNATURE_FILE
    with replacing(path) as place:
        signer.sign(folder, place)
    return path


def check_signature(folder: Path, public_key: Path) -> tuple[str, ...]:
    """One line for each thing wrong with the signature; empty: it is that key's, over these bytes.

    Raises OptionError for a key that is none, MissingExtraError where the library is absent.
    """
    _require_library()
    from model_signing import verifying

    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except Exception as error:
        raise OptionError(f"--public-key {public_key}: {_reason(error)}; {ADVICE}") from error
    path = folder / SIGNATURE_FILE
    if not path.is_file():
        return (f"{SIGNATURE_FILE}: missing, the folder is not signed",)
    try:
        if not _has_one_spelling(path):
            return (f"{SIGNATURE_FILE}: not as it was written",)
        verifier.verify(folder, path)
    except Exception as error:
        return (f"{SIGNATURE_FILE}: does not hold for this key ({_reason(error)})",)
    return ()


def _has_one_spelling(path: Path) -> bool:
    """Whether the bundle's bytes are those that the library writes.

    A signature covers what the bundle says, not white space or how base64 is spelled.
    """
    from sigstore_models.bundle.v1 import Bundle

    text = path.read_bytes().decode()
    spelled: str = Bundle.from_dict(json.loads(text)).to_json()
    return spelled == text


def _require_library() -> None:
    try:
        import model_signing.signing  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"signatures need model-signing ({error}); pip install 'compressor[signing]'"
        ) from error


def _reason(error: Exception) -> str:
    """The first sentence of what the library says, where it says anything of use."""
    if isinstance(error, OSError):
        return error.strerror or "cannot be read"
    if isinstance(error, AttributeError):  # a key of another kind has no curve
        return "not an elliptic-curve key"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].partition(". ")[0].rstrip(". ")[:200]
