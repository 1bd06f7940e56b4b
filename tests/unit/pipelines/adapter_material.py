"""A tiny base directory without torch, keys, and sealed releases for tests."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from pipelines.adapter import (
    BaseIdentity,
    Card,
    SignedVerdict,
    Trust,
    base_identity,
    import_base,
    seal_release,
    watermark_digest,
)
from policies.thresholds import Thresholds
from services import keys

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MODULES = {"model.layers.0.self_attn.q_proj": (8, 8), "model.layers.0.self_attn.v_proj": (8, 4)}


@dataclass(frozen=True)
class Material:
    home: Path
    base: Path
    releases: Path
    identity: BaseIdentity
    trust: Trust
    adapter_key: keys.SigningKey
    verdict_key: keys.SigningKey

    def release0(self) -> Path:
        return import_base(
            self.base,
            self.releases,
            self.identity,
            adapter_key=self.adapter_key,
            verdict_key=self.verdict_key,
            now=NOW,
            rank=2,
        )

    def card(self, watermark: tuple[str, ...] = ("t1", "t2"), **changes: Any) -> Card:
        fields: dict[str, Any] = {
            "kind": "unlearning",
            "base_digest": self.identity.base_digest,
            "tokenizer_digest": self.identity.tokenizer_digest,
            "chat_template_digest": self.identity.chat_template_digest,
            "dtype": self.identity.dtype,
            "watermark": watermark,
            "watermark_digest": watermark_digest(watermark),
            "method": "relearn",
            "created_at": NOW.isoformat(),
            **changes,
        }
        return Card(**fields)

    def seal(
        self,
        adapter: Path,
        card: Card | None = None,
        verdict: SignedVerdict | None = None,
        adapter_key: keys.SigningKey | None = None,
        verdict_key: keys.SigningKey | None = None,
    ) -> Path:
        return seal_release(
            adapter,
            self.releases,
            card=card or self.card(),
            verdict=verdict or accepted(),
            adapter_key=adapter_key or self.adapter_key,
            verdict_key=verdict_key or self.verdict_key,
        )


def accepted(**changes: Any) -> SignedVerdict:
    fields: dict[str, Any] = {
        "kind": "unlearning",
        "outcome": "accepted",
        "thresholds": Thresholds(),
        "metrics": {"kfr": {"value": 0.99, "lower_bound": 0.93, "samples": 80}},
        "pack": {"name": "gdpr", "version": "1", "digest": "0" * 64},
        "decided_at": NOW.isoformat(),
        **changes,
    }
    return SignedVerdict(**fields)


def make_base(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (directory / "tokenizer.json").write_text("{}")
    (directory / "chat_template.jinja").write_text("{{ messages[0].content }}")
    save_file(
        {f"{m}.weight": np.ones((o, i), np.float32) for m, (i, o) in MODULES.items()}, directory / "model.safetensors"
    )
    return directory


def make_adapter(directory: Path, *, rank: int = 2, config: dict[str, Any] | None = None, **tensors: Any) -> Path:
    """An adapter as PEFT saves it; ``tensors`` replace single ones by module suffix and part."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    values = {}
    for module, (inputs, outputs) in MODULES.items():
        values[f"base_model.model.{module}.lora_A.weight"] = rng.normal(size=(rank, inputs)).astype(np.float32)
        values[f"base_model.model.{module}.lora_B.weight"] = rng.normal(size=(outputs, rank)).astype(np.float32)
    for name in values:
        for short, value in tensors.items():
            if name.endswith(short.replace("__", ".") + ".weight"):
                values[name] = value
    save_file(values, directory / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 4, "bias": "none", "target_modules": ["q_proj", "v_proj"]}
    (directory / "adapter_config.json").write_text(json.dumps({**settings, **(config or {})}))
    return directory


def make_material(home: Path) -> Material:
    keys.ensure(home, now=datetime(2029, 1, 1, tzinfo=UTC))
    base = make_base(home / "base")
    return Material(
        home=home,
        base=base,
        releases=home / "releases",
        identity=base_identity(base),
        trust=Trust.from_file(keys.trust_path(home)),
        adapter_key=keys.load_private(home, "adapter"),
        verdict_key=keys.load_private(home, "verdict"),
    )
