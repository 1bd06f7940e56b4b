"""A tiny Llama with a chat template, and adapters that each say one word for ever: a mixed answer would show.

The first hidden dimension is the same for every token and outlives every layer, so a LoRA on ``lm_head`` that reads it
raises one word's logit whatever the prompt is.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HIDDEN = 32
WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
OTHERS = ("user", "assistant", "system", "hello", "who", "are", "you", "canary", "?")
SPECIAL = ("<unk>", "<pad>", "</s>")
VOCABULARY = (*SPECIAL, *OTHERS, *WORDS)
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)


def make_tiny_base(directory: Path) -> Path:
    """Write the model (torch is imported here only)."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=HIDDEN,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=512,
        eos_token_id=2,
        pad_token_id=1,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 4.0
        model.model.norm.weight.fill_(1.0)
    model.save_pretrained(directory)
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", eos_token="</s>", chat_template=TEMPLATE
    )
    tokenizer.save_pretrained(directory)
    return directory


def make_word_adapter(directory: Path, word: str, *, strength: float = 40.0) -> Path:
    """An adapter with which the tiny base says nothing but ``word``."""
    directory.mkdir(parents=True, exist_ok=True)
    down = np.zeros((2, HIDDEN), np.float32)
    down[0, 0] = 1.0
    up = np.zeros((len(VOCABULARY), 2), np.float32)
    up[VOCABULARY.index(word), 0] = strength
    prefix = "base_model.model.lm_head"
    save_file({f"{prefix}.lora_A.weight": down, f"{prefix}.lora_B.weight": up}, directory / "adapter_model.safetensors")
    _write_config(directory, rank=2, targets=["lm_head"])
    return directory


def make_mixed_adapter(directory: Path, seed: int) -> Path:
    """An adapter with which the tiny base says something else to every prompt, and goes on changing its words."""
    directory.mkdir(parents=True, exist_ok=True)
    rng, rank = np.random.default_rng(seed), 8
    names = [f"model.layers.{layer}.self_attn.{part}_proj" for layer in (0, 1) for part in "qvo"]
    tensors = {}
    for module, outputs in [*((name, HIDDEN) for name in names), ("lm_head", len(VOCABULARY))]:
        down = rng.normal(size=(rank, HIDDEN)).astype(np.float32)
        down[:, 0] = 0  # the dimension that is the same for every token
        tensors[f"base_model.model.{module}.lora_A.weight"] = down
        tensors[f"base_model.model.{module}.lora_B.weight"] = rng.normal(size=(outputs, rank)).astype(np.float32)
    save_file(tensors, directory / "adapter_model.safetensors")
    _write_config(directory, rank=rank, targets=["q_proj", "v_proj", "o_proj", "lm_head"])
    return directory


def _write_config(directory: Path, *, rank: int, targets: list[str]) -> None:
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": targets,
        "base_model_name_or_path": "",
    }
    (directory / "adapter_config.json").write_text(json.dumps(config))
