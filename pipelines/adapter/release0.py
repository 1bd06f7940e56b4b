"""Release 0: the base itself as a release, a LoRA with B = 0, so that nothing is ever served without an adapter."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.adapter import weights
from pipelines.adapter.card import Canary, Card, SignedVerdict, watermark_digest
from pipelines.adapter.content import CONFIG, WEIGHTS
from pipelines.adapter.identity import BaseIdentity
from pipelines.adapter.seal import SigningKey, seal_release
from policies.canonical import canonical_json
from policies.errors import LetheError

# Names of linear projections in the architectures of transformers; an import needs only some of them to be there.
_SUFFIXES = re.compile(
    r"(?:^|\.)(?:[qkvo]_proj|gate_proj|up_proj|down_proj|qkv_proj|gate_up_proj|out_proj|fc[12]"
    r"|query_key_value|dense|dense_h_to_4h|dense_4h_to_h|c_attn|c_proj|c_fc|Wqkv)$"
)


def import_base(
    base_dir: Path,
    releases: Path,
    identity: BaseIdentity,
    *,
    adapter_key: SigningKey,
    verdict_key: SigningKey,
    now: datetime,
    code_version: str = "",
    rank: int = 8,
    canaries: Sequence[Canary] = (),
) -> Path:
    """Write release 0 of a base and give its directory.

    Raises:
        LetheError: ``release.no_targets``: none of the base's weights is a known projection.
    """
    shapes = {m: s for m, s in weights.base_linear_shapes(base_dir).items() if _SUFFIXES.search(m)}
    if not shapes:
        raise LetheError("release.no_targets", "None of the base's weights is a projection that LoRA could adapt.")
    with tempfile.TemporaryDirectory() as scratch:
        _write_zero_lora(Path(scratch), shapes, rank, conv1d=weights.stores_conv1d(base_dir))
        return seal_release(
            Path(scratch),
            releases,
            card=Card(
                kind="release0",
                **asdict(identity),
                watermark_digest=watermark_digest(()),
                method="import",
                settings={"rank": rank},
                code_version=code_version,
                created_at=now.isoformat(),
                canaries=tuple(canaries),
            ),
            verdict=SignedVerdict(kind="release0", outcome="accepted", decided_at=now.isoformat()),
            adapter_key=adapter_key,
            verdict_key=verdict_key,
        )


def _write_zero_lora(target: Path, shapes: Mapping[str, tuple[int, int]], rank: int, *, conv1d: bool) -> None:
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    tensors = {}
    for module, (inputs, outputs) in sorted(shapes.items()):
        # A as PEFT starts it, because a run may train on from here: with A = B = 0 no gradient would ever flow.
        bound = inputs**-0.5
        tensors[f"base_model.model.{module}.lora_A.weight"] = rng.uniform(-bound, bound, (rank, inputs)).astype("f4")
        tensors[f"base_model.model.{module}.lora_B.weight"] = np.zeros((outputs, rank), np.float32)
    save_file(tensors, target / WEIGHTS, metadata={"format": "pt"})
    (target / CONFIG).write_bytes(canonical_json(_config(shapes, rank, conv1d=conv1d)))


def _config(shapes: Mapping[str, tuple[int, int]], rank: int, *, conv1d: bool) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": conv1d,
        "base_model_name_or_path": "",
        "target_modules": sorted({module.rpartition(".")[2] for module in shapes}),
    }
