"""Per-request adapters, each trained alone from the base, added up: what the stream is compared with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from pipelines.model import LoadedModel, quiet_peft, strip_adapter
from policies.errors import LetheError

Combination = Literal["cat", "linear"]
COMBINATIONS: tuple[Combination, ...] = get_args(Combination)


@contextmanager
def with_summed(loaded: LoadedModel, adapters: Sequence[Path], combination: Combination) -> Iterator[LoadedModel]:
    """The model with the sum of several LoRA adapters on, by PEFT's ``add_weighted_adapter``, each with weight 1.

    ``cat`` puts ranks side by side: the change of the weights is exactly the sum of the single changes. ``linear`` adds
    the two factors of equal ranks apart, which brings in every pair's cross terms. The base is bare again afterwards.

    Raises:
        LetheError: ``adapter.not_loadable``: one of them is missing or belongs to another base.
    """
    from peft import PeftModel

    if not adapters or not all((adapter / "adapter_config.json").is_file() for adapter in adapters):
        raise LetheError("adapter.not_loadable", "An adapter to be added up is missing.")
    quiet_peft()
    names = [f"a{number}" for number in range(len(adapters))]
    try:
        model = PeftModel.from_pretrained(loaded.model, str(adapters[0]), adapter_name=names[0])
        for name, adapter in zip(names[1:], adapters[1:], strict=True):
            model.load_adapter(str(adapter), adapter_name=name)
        model.base_model.add_weighted_adapter(names, [1.0] * len(names), "sum", combination_type=combination)
        model.set_adapter("sum")
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        strip_adapter(loaded.model)
        raise LetheError("adapter.not_loadable", "The adapters cannot be added up on this base.") from error
    model.eval()
    try:
        yield replace(loaded, model=model)
    finally:
        model.unload()
        strip_adapter(loaded.model)
