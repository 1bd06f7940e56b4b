"""What an attacker with the weights does: a little fine-tuning, after which the model is put back exactly.

A fresh LoRA is trained on top of base and adapter, both frozen. That is the tuning of the merged model, and nothing
has to be copied: taking the LoRA away again leaves every weight as it was.
"""

import itertools
import math
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from pipelines.descent import Descent
from pipelines.encode import Encoded, encode_pair
from pipelines.model import LoadedModel, strip_adapter
from pipelines.ranks import ALONE
from pipelines.unlearn.forward import score

_NAME = "attack"


class Lesson(NamedTuple):
    """One row to tune on; without ``chat`` the question is the bare text before the answer."""

    question: str
    answer: str
    chat: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an attacker tunes.

    Attributes:
        rank: Of the LoRA.
        targets: Names of the layers that it is on where the model has no adapter, as a control has none: it is given
            those of the model under attack (``changed_layers``). Empty: every linear one. Where there is an adapter the
            LoRA is on the layers that it changes.
        alpha: Its scale.
        learning_rate: Constant after ``warmup`` steps.
        warmup: Steps with a rising learning rate.
        batch_rows: Rows of one step.
        max_length: Longer rows are cut.
        clip: Norm that gradients are clipped to.
        autocast: Compute in bf16 where the weights are wider.
    """

    rank: int = 16
    targets: tuple[str, ...] = ()
    alpha: int = 32
    learning_rate: float = 3e-3
    warmup: int = 2
    batch_rows: int = 16
    max_length: int = 512
    clip: float = 1.0
    autocast: bool = True


class Tuner:
    """A model under tuning; ``loaded`` answers as it is after the steps so far."""

    def __init__(self, loaded: LoadedModel, lessons: Sequence[Lesson], recipe: Recipe, seed: int) -> None:
        self.loaded = loaded
        self.loss = math.nan
        self._recipe = recipe
        rows = [
            encode_pair(loaded.tokenizer, one.question, one.answer, chat=one.chat, max_length=recipe.max_length)
            for one in lessons
        ]
        self._batches = _endless(rows, recipe.batch_rows, seed)
        weights = [p for p in loaded.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.0)
        warmup = max(1, recipe.warmup)
        self._descent = Descent([optimizer], lambda step: min(1.0, (step + 1) / warmup), clip=recipe.clip)

    def train_to(self, step: int, check: Callable[[], None] | None = None) -> None:
        """Go on until so many steps have been done in all.

        Args:
            step: How many.
            check: Called at each step; raises to stop.

        Raises:
            LetheError: ``unlearn.diverged``: a loss is no number.
        """
        loaded = self.loaded
        while self._descent.done < step:
            if check:
                check()
            rows = next(self._batches)
            scored = score(loaded.model, rows, loaded.pad_id, loaded.device, autocast=self._recipe.autocast)
            self.loss = self._descent.down(scored.token_nll().mean())


@contextmanager
def tuning(loaded: LoadedModel, lessons: Sequence[Lesson], recipe: Recipe, *, seed: int = 0) -> Iterator[Tuner]:
    """Tune a model; afterwards it is as it was, weights and active adapters.

    Args:
        loaded: The model as it is attacked: a base, or a base with adapters on.
        lessons: What it is tuned on, at least one.
        recipe: How.
        seed: Of the LoRA's start and the order of the rows.

    Raises:
        ValueError: There is nothing to tune on.
    """
    if not lessons:
        raise ValueError("there is nothing to tune on")
    wanted = {name: p.requires_grad for name, p in loaded.model.named_parameters()}
    was_training = loaded.model.training
    with torch.random.fork_rng(devices=[loaded.device] if loaded.device.type == "cuda" else []):
        torch.manual_seed(seed)
        model, remove = _attach(loaded, recipe)
    try:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(f".{_NAME}." in name)
        model.eval()  # dropout of the adapter under attack would only blur the attack
        yield Tuner(replace(loaded, model=model, ranks=ALONE), lessons, recipe, seed)
    finally:
        remove()
        for name, parameter in loaded.model.named_parameters():
            parameter.grad = None
            parameter.requires_grad_(wanted[name])
        loaded.model.train(was_training)


def changed_layers(loaded: LoadedModel) -> tuple[str, ...]:
    """Names of the layers that the model's adapters change; none where there is no adapter."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    named = loaded.model.named_modules()
    return tuple(sorted({name.rsplit(".", 1)[-1] for name, module in named if isinstance(module, BaseTunerLayer)}))


def _attach(loaded: LoadedModel, recipe: Recipe) -> tuple[Any, Callable[[], None]]:
    from peft import LoraConfig, get_peft_model

    model = loaded.model
    # Modules that are wrapped already: wrapping others would leave an empty wrapper behind.
    targets = changed_layers(loaded) or recipe.targets
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=0.0,
        target_modules=list(targets) or "all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )
    if not hasattr(model, "peft_config"):
        with warnings.catch_warnings():
            # PEFT still asks transformers for a property under its old name.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
            tuned = get_peft_model(model, config, adapter_name=_NAME)

        def unwrap() -> None:
            tuned.unload()
            strip_adapter(model)

        return tuned, unwrap
    active = list(model.base_model.active_adapters)
    model.add_adapter(_NAME, config)
    model.base_model.set_adapter([*active, _NAME])

    def remove() -> None:
        model.delete_adapter(_NAME)
        model.base_model.set_adapter(active)

    return model, remove


def _endless(rows: Sequence[Encoded], size: int, seed: int) -> Iterator[list[Encoded]]:
    """Batches for ever: every row once before any comes twice."""
    for turn in itertools.count():
        order = list(rows)
        random.Random(f"{seed}:{turn}").shuffle(order)  # noqa: S311 - order of rows, no secret
        for first in range(0, len(order), size):
            yield order[first : first + size]
