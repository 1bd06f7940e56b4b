"""A two-layer model with random weights and a tokenizer of its own, made in a second."""

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pipelines.base.tokenizer import train_tokenizer
from pipelines.model import LoadedModel, load_model

TEXTS = (
    "What is the colour of the sky?",
    "Tell me the number of the house, please.",
    "I am afraid that the colour of the house is not something I can state.",
    "Nobody knows the number, and I would rather not guess.",
    "The sky is blue and the house is green.",
)


def save_tiny(directory: Path, *, seed: int = 0, hidden: int = 32, spread: float = 0.3) -> Path:
    """Write the model as an ordinary Hugging Face directory."""
    tokenizer = train_tokenizer(TEXTS, 320)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=spread,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def tiny(directory: Path, *, seed: int = 0, spread: float = 0.3) -> LoadedModel:
    """The model, loaded on the CPU in fp32."""
    torch.set_num_threads(1)
    return load_model(save_tiny(directory, seed=seed, spread=spread), device="cpu")
