"""What a release directory holds, and the digest that names it."""

import hashlib
from pathlib import Path

from policies.canonical import canonical_json, sha256_hex
from policies.errors import LetheError

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
CARD = "card.json"
SIGNATURE = "model.sig"
VERDICT = "verdict.dsse.json"
CONTENT = (CONFIG, WEIGHTS, CARD)
FILES = (*CONTENT, SIGNATURE, VERDICT)

_PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy"})
_CHUNK = 1 << 20


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def directory_digest(directory: Path, names: tuple[str, ...]) -> str:
    """Digest of the named files: SHA-256 over the canonical JSON of name and SHA-256 of each, sorted."""
    return sha256_hex(canonical_json({name: file_digest(directory / name) for name in sorted(names)}))


def content_digest(directory: Path) -> str:
    """The digest that names a release: its three content files, without the signatures over them."""
    return directory_digest(directory, CONTENT)


def release_name(digest: str) -> str:
    """``u-`` and the first 16 hex digits: what engine and gateway call the adapter."""
    return f"u-{digest[:16]}"


def check_files(directory: Path) -> None:
    """Refuse anything but the five files: no other file, no link, no folder, nothing missing.

    Raises:
        LetheError: ``release.not_found``, ``release.pickle``, ``release.files``.
    """
    if directory.is_symlink() or not directory.is_dir():
        raise LetheError("release.not_found", "There is no such release directory.")
    entries = {entry.name: entry for entry in directory.iterdir()}
    if any(Path(name).suffix.lower() in _PICKLES for name in entries):
        raise LetheError("release.pickle", "The release holds a file that could run code when it is loaded.")
    faults = [f"{name}: not part of a release" for name in sorted(entries.keys() - set(FILES))]
    faults += [f"{name}: missing" for name in FILES if name not in entries]
    faults += [f"{n}: not a plain file" for n, e in sorted(entries.items()) if e.is_symlink() or not e.is_file()]
    if faults:
        raise LetheError("release.files", "The release does not hold exactly its five files.", tuple(faults))
