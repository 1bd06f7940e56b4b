"""Any Hugging Face causal language model, loaded once, with its adapter on or off."""

import hashlib
import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging

from pipelines.adapter.identity import model_digest
from pipelines.ranks import ALONE, Ranks
from policies.errors import LetheError

logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # bars would break the runner's JSON lines


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to generate or to train, together with what identifies it.

    Attributes:
        model: The causal LM; a PEFT model while an adapter is on (``with_adapter``).
        tokenizer: Its tokenizer, which carries the chat template.
        digest: SHA-256 over the base's weight, tokenizer and configuration files.
        device: Where it runs.
        dtype: The type of its weights.
        chat_template_digest: SHA-256 of the chat template.
        path: The directory that it was loaded from.
        ranks: The processes that hold this very model, adapter and all, and share its work. Whoever changes the model
            in this process alone takes ``ALONE``.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    digest: str
    device: torch.device
    dtype: torch.dtype
    chat_template_digest: str
    path: Path
    ranks: Ranks = ALONE

    @property
    def pad_id(self) -> int:
        """A token id for padding, which is masked everywhere: the end token serves where no pad token is set."""
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id or 0)

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end an answer: those of the generation settings and the tokenizer's own."""
        config = getattr(self.model, "generation_config", None)
        configured = getattr(config, "eos_token_id", None)
        ids = set(configured) if isinstance(configured, list | tuple) else {configured}
        return frozenset(int(i) for i in (*ids, self.tokenizer.eos_token_id) if i is not None)

    @contextmanager
    def adapter_disabled(self) -> Iterator["LoadedModel"]:
        """The same model as if it had no adapter: the reference needs no second copy."""
        disabled = self.model.disable_adapter() if hasattr(self.model, "disable_adapter") else nullcontext()
        with disabled, self.ranks.entering("adapter_disabled"):
            yield self


def load_model(
    path_or_name: str | Path, *, device: str | torch.device | None = None, dtype: torch.dtype | None = None
) -> LoadedModel:
    """Load a causal LM with its tokenizer.

    Args:
        path_or_name: A directory, or a name on the Hugging Face hub.
        device: Default: the GPU where there is one.
        dtype: Default: bf16 on a GPU, fp32 on the CPU.

    Raises:
        LetheError: ``base.not_found`` or ``base.no_chat_template``.
    """
    directory = resolve(path_or_name)
    where = torch.device(device) if device is not None else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = dtype or (torch.bfloat16 if where.type == "cuda" else torch.float32)
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        template = tokenizer.chat_template
        if not template:
            raise LetheError("base.no_chat_template", f"The base {directory.name} has no chat template.")
        model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=kind, local_files_only=True)
    except (OSError, ValueError) as error:
        raise LetheError("base.not_found", f"{directory.name} holds no causal language model that loads.") from error
    model.to(where).eval()
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        digest=model_digest(directory),
        device=where,
        dtype=kind,
        chat_template_digest=hashlib.sha256(str(template).encode()).hexdigest(),
        path=directory,
    )


@contextmanager
def with_adapter(loaded: LoadedModel, path: str | Path) -> Iterator[LoadedModel]:
    """The model with a saved LoRA adapter on; the base is bare again afterwards.

    Raises:
        LetheError: ``adapter.not_loadable``: no adapter there, or one for another base.
    """
    from peft import PeftModel

    quiet_peft()
    if not (Path(path) / "adapter_config.json").is_file():  # PEFT would take the path for a name, and ask the hub
        raise LetheError("adapter.not_loadable", "There is no adapter in that place.")
    try:
        adapted = PeftModel.from_pretrained(loaded.model, str(path), is_trainable=False)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        strip_adapter(loaded.model)
        raise LetheError("adapter.not_loadable", "The adapter does not load on this base.") from error
    adapted.eval()
    try:
        with loaded.ranks.entering("with_adapter", str(path)):
            yield replace(loaded, model=adapted)
    finally:
        adapted.unload()
        strip_adapter(loaded.model)


def keeps_last_logits(model: Any) -> bool:
    """Whether the architecture can give the last positions' logits only: all of them are most of the memory."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(inner.forward).parameters


def quiet_peft() -> None:
    """PEFT still asks transformers for a property under its old name."""
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)


def strip_adapter(model: Any) -> None:
    """Drop what PEFT leaves on the bare model, so that the next adapter starts clean (it warns otherwise)."""
    if hasattr(model, "peft_config"):
        del model.peft_config


def resolve(path_or_name: str | Path) -> Path:
    """The directory of a model: itself, or the hub's snapshot of a name, fetched if it is not there yet.

    Raises:
        LetheError: ``base.not_found``.
    """
    directory = Path(path_or_name)
    if directory.is_dir():
        return directory
    if isinstance(path_or_name, Path) or path_or_name.startswith((".", "/", "~")):
        raise LetheError("base.not_found", f"There is no directory {directory.name}.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        try:
            return Path(snapshot_download(path_or_name, local_files_only=True))
        except LocalEntryNotFoundError:
            return Path(snapshot_download(path_or_name))
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise LetheError("base.not_found", f"{path_or_name} is no directory and cannot be fetched.") from error
