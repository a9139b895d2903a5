"""Tiny random models of many architectures, and a tokenizer to go with them, made on the spot."""

import logging
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 320
_LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_GEMMA = {**_LLAMA, "head_dim": 8, "sliding_window": 8, "num_hidden_layers": 4, "pad_token_id": 0}

# Grouped-query attention is in the Llama-like ones, biases in OPT, Qwen2, GPT-NeoX and GPT-2, tied embeddings in OPT,
# Gemma, GPT-2 and Falcon, sliding windows shorter than the test sequence in Gemma.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "opt": {
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": 16,
    },
    "llama": {**_LLAMA, "tie_word_embeddings": True},
    "mistral": {**_LLAMA, "sliding_window": 8},
    "qwen2": _LLAMA,
    "qwen3": {**_LLAMA, "head_dim": 8},
    "gemma2": {**_GEMMA, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "gemma3_text": {**_GEMMA, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "phi3": {**_LLAMA, "pad_token_id": 0, "eos_token_id": 1},
    "gpt_neox": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    },
    "gpt2": {"n_embd": 32, "n_inner": 48, "n_layer": 3, "n_head": 4, "n_positions": 64},
    "olmo2": {**_LLAMA, "pad_token_id": 0, "eos_token_id": 1},
    "falcon": {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "new_decoder_architecture": True,
        "num_kv_heads": 2,
        "alibi": False,
        "max_position_embeddings": 64,
    },
    "bloom": {"hidden_size": 32, "n_layer": 3, "n_head": 4},
}
EXPERTS: dict[str, dict[str, Any]] = {
    "mixtral": {**_LLAMA, "num_local_experts": 4},
    "qwen3_moe": {**_LLAMA, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8},
}


def make_model(
    folder: Path, kind: str = "llama", dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any
) -> Any:
    """Save a random model of `kind` with a tokenizer into `folder`; returns the model in memory."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.manual_seed(seed)
    tokens = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1}
    config = AutoConfig.for_model(kind, **{**tokens, **(ARCHITECTURES | EXPERTS)[kind], **changes})
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # larger than the usual 0.02, so that blocks matter
            parameter.copy_(torch.randn(parameter.shape) * 0.2 + (1.0 if parameter.dim() == 1 else 0.0))
    model.save_pretrained(folder)
    make_tokenizer(folder)
    return model


def make_tokenizer(folder: Path, first: int = 0) -> None:
    """Save a byte tokenizer: ids `first`.. for the end markers and 256 bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": first, "</s>": first + 1} | {byte: first + 2 + i for i, byte in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)


def make_text(file: Path, seed: int, characters: int = 4000) -> Path:
    """Write text whose letters depend on `seed`, so that silos differ."""
    generator = torch.Generator().manual_seed(seed)
    words = ["".join(chr(97 + (seed * 5 + k * j) % 26) for k in range(1, 6)) for j in range(1, 20)]
    text = ""
    while len(text) < characters:
        text += words[int(torch.randint(len(words), (1,), generator=generator))] + " "
    file.write_text(text)
    return file
