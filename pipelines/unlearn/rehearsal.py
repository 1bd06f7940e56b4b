"""A leak, rehearsed: the attacker who learns half of the facts anew is played while the other half is kept down.

All facts of a person can share one gate, from the name to a vague answer: lowered answers stay low until somebody
tunes the model on a few of them, and then come back together. Here the same is done in training, over and over: a
throwaway LoRA is tuned on the raw answers of a random half of the facts, as ``verify.attacks.finetune`` tunes, and the
loss on the other half is taken with it on, so that only what survives the leak lowers it (first-order, as
tamper-resistant training does it: arXiv 2408.00761).

The throwaway LoRA hangs in hooks beside the model and is no part of it: no adapter can hold it, the run's optimizer
does not know it, and its gradients are taken for its own tensors only. Nothing that is saved ever had a step that
raises a forgotten answer.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.encode import Encoded, batches
from pipelines.model import LoadedModel
from pipelines.ranks import ALONE, Ranks
from pipelines.unlearn.forward import score
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.streams import Rows
from pipelines.unlearn.telling import telling

_RANK, _SCALE, _RATE, _RISING, _CLIP = 16, 2.0, 3e-3, 2, 1.0  # the attacker's recipe (verify.attacks.finetune.Recipe)


class Rehearsal:
    """One throwaway LoRA after another, each tuned on a random half of the facts.

    Args:
        loaded: The model that is trained, with its adapter.
        rows: The raw forgotten answers.
        settings: ``leak_steps``, ``leak_length``, ``leak_tokens`` and ``seed``.
        ranks: The processes that share each batch; all of them have the same throwaway LoRA.
    """

    def __init__(self, loaded: LoadedModel, rows: Rows, settings: UnlearnSettings, ranks: Ranks = ALONE) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer

        self._ranks = ranks
        self._loaded, self._rows, self._settings = loaded, rows, settings
        self._layers: list[Any] = [m for m in loaded.model.modules() if isinstance(m, BaseTunerLayer)]
        self._telling = [telling(loaded.tokenizer, *row) for row in zip(rows.sources, rows.encoded, strict=True)]
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._optimizer: torch.optim.Optimizer | None = None
        self._turn = -1
        self._tuned = 0

    def go_on(self, step: int) -> list[int]:
        """Tune the throwaway LoRA further for a step of the run, or begin with a fresh one.

        Args:
            step: Of the run, from 0.

        Returns:
            Places of rows about facts that have not leaked; where there is one fact only, nothing can leak without
            leaking all, and they are about that fact.
        """
        turn = step // self._settings.leak_length
        if turn != self._turn:
            self._begin(turn)
        leaked, others = self._halves(turn)
        for _ in range(self._settings.leak_steps if leaked else 0):
            self._tune([self._rows.encoded[place] for place in self._some(leaked, self._tuned, "leaked")])
        return self._some(others, step, "others")

    def telling(self, places: Sequence[int]) -> list[Encoded]:
        """The rows at some places, from where their answers begin to tell."""
        return [self._telling[place] for place in places]

    @contextmanager
    def leaked(self) -> Iterator[None]:
        """The model as it is after the leak; gradients go through to its adapter, none to the throwaway LoRA."""
        with self._hooked([(down.detach(), up.detach()) for down, up in self._pairs]):
            yield

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {
            "turn": self._turn,
            "tuned": self._tuned,
            "pairs": [(down.detach().cpu(), up.detach().cpu()) for down, up in self._pairs],
            "optimizer": self._optimizer.state_dict() if self._optimizer else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        if state["optimizer"] is None:
            return
        self._begin(state["turn"])
        self._tuned = state["tuned"]
        with torch.no_grad():
            for mine, saved in zip(self._pairs, state["pairs"], strict=True):
                for tensor, value in zip(mine, saved, strict=True):
                    tensor.copy_(value)
        assert self._optimizer is not None
        self._optimizer.load_state_dict(state["optimizer"])

    def _begin(self, turn: int) -> None:
        """A fresh LoRA: random down, zero up, as PEFT starts one; the run's own draws are not touched."""
        dice = torch.Generator().manual_seed(self._settings.seed * 100_003 + turn)
        self._pairs = []
        for layer in self._layers:
            out_width, in_width = layer.out_features, layer.in_features
            bound = in_width**-0.5  # kaiming_uniform_ with a = sqrt(5)
            down = (torch.rand(_RANK, in_width, generator=dice) * 2 - 1) * bound
            pair = (down.to(self._loaded.device), torch.zeros(out_width, _RANK, device=self._loaded.device))
            self._pairs.append((pair[0].requires_grad_(), pair[1].requires_grad_()))
        self._optimizer = torch.optim.AdamW(self._tensors(), lr=_RATE, weight_decay=0.0)
        self._turn, self._tuned = turn, 0

    def _tensors(self) -> list[Tensor]:
        return [tensor for pair in self._pairs for tensor in pair]

    def _tune(self, rows: Sequence[Encoded]) -> None:
        """One step of the attacker's."""
        assert self._optimizer is not None
        loaded, tensors = self._loaded, self._tensors()
        for group in self._optimizer.param_groups:
            group["lr"] = _RATE * min(1.0, (self._tuned + 1) / _RISING)
        mine, share = self._ranks.split(rows)
        with self._hooked(self._pairs):
            scored = score(
                loaded.model, mine, loaded.pad_id, loaded.device, autocast=self._settings.autocast, share=share
            )
        # Gradients for these tensors alone: the adapter's own stay as they are.
        gradients = torch.autograd.grad(scored.mean(scored.token_nll()), tensors)
        self._ranks.add(gradients)
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = gradient
        torch.nn.utils.clip_grad_norm_(tensors, _CLIP)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._tuned += 1

    @contextmanager
    def _hooked(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Iterator[None]:
        def added(down: Tensor, up: Tensor) -> Any:
            def hook(_: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
                change = functional.linear(functional.linear(inputs[0].to(down.dtype), down), up) * _SCALE
                return output + change.to(output.dtype)

            return hook

        hooks = [layer.register_forward_hook(added(*pair)) for layer, pair in zip(self._layers, pairs, strict=True)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _halves(self, turn: int) -> tuple[list[int], list[int]]:
        facts = sorted({row.fact or "" for row in self._rows.sources})
        dice = random.Random(f"{self._settings.seed}:{turn}")  # noqa: S311 - a sample, not a key
        half = set(dice.sample(facts, len(facts) // 2))
        places: tuple[list[int], list[int]] = ([], [])
        for place, row in enumerate(self._rows.sources):
            places[(row.fact or "") not in half].append(place)
        return places

    def _some(self, places: Sequence[int], draw: int, what: str) -> list[int]:
        """Batch ``draw`` of passes over all places; the order of a pass hangs on nothing but the arguments."""
        lengths = [len(self._rows.encoded[place]) for place in places]
        count = len(batches(lengths, self._settings.leak_tokens))
        passes, which = divmod(draw, count)  # the number of batches hangs on the lengths alone, not on the order
        dice = random.Random(f"{self._settings.seed}:{what}:{self._turn}:{passes}")  # noqa: S311
        drawn = batches(lengths, self._settings.leak_tokens, shuffle_seed=dice.getrandbits(32))
        return [places[index] for index in drawn[which]]
