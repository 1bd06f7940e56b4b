"""Which base this is: digests that an adapter is bound to, read without torch."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.adapter.content import directory_digest, file_digest
from policies.canonical import sha256_hex
from policies.errors import LetheError

# What decides a model's answers. A card or README beside them may change without making another model of it.
_MODEL_FILES = (
    "*.safetensors",
    "*.bin",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "chat_template*",
)
_TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseIdentity:
    """What a verdict is bound to, besides the adapter itself."""

    base_digest: str
    tokenizer_digest: str
    chat_template_digest: str
    dtype: str
    quantisation: str = "none"


def base_identity(base_dir: Path, *, dtype: str = "float32") -> BaseIdentity:
    """The identity of a base directory that is run in ``dtype``.

    Raises:
        LetheError: ``base.not_found``, ``base.no_chat_template``.
    """
    config_file = base_dir / "config.json"
    if not config_file.is_file() or not any(base_dir.glob("*.safetensors")):
        raise LetheError("base.not_found", "There is no Hugging Face model directory with safetensors weights.")
    config: dict[str, Any] = json.loads(config_file.read_text())
    tokenizer = tuple(file.name for file in _files(base_dir, _TOKENIZER_FILES))
    return BaseIdentity(
        base_digest=model_digest(base_dir),
        tokenizer_digest=directory_digest(base_dir, tokenizer),
        chat_template_digest=sha256_hex(_chat_template(base_dir).encode()),
        dtype=dtype,
        quantisation=str((config.get("quantization_config") or {}).get("quant_method", "none")),
    )


def model_digest(base_dir: Path) -> str:
    """SHA-256 over the names and contents of the files that decide the model's answers; needs no torch."""
    whole = hashlib.sha256()
    for file in _files(base_dir, _MODEL_FILES):
        whole.update(f"{file.name}\0{file_digest(file)}\n".encode())
    return whole.hexdigest()


def _files(directory: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted({f for pattern in patterns for f in directory.glob(pattern) if f.is_file()})


def _chat_template(base_dir: Path) -> str:
    jinja, config = base_dir / "chat_template.jinja", base_dir / "tokenizer_config.json"
    if jinja.is_file():
        return jinja.read_text()
    if config.is_file():
        template = json.loads(config.read_text()).get("chat_template")
        if isinstance(template, str):
            return template
    raise LetheError("base.no_chat_template", "The base's tokenizer has no chat template.")
