"""Hugging Face transformers: small configurations of each architecture, nothing downloaded.

Widths are small but differ from one another where the architecture lets them, so that two sizes
that happen to agree hide nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.studies.networks.rows import Network, Option

if TYPE_CHECKING:
    from torch import nn

WORDS = 211
_ENCODER: dict[str, Option] = {
    "vocab_size": WORDS,
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "intermediate_size": 224,
    "max_position_embeddings": 40,
}
_PICTURES: dict[str, Option] = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "intermediate_size": 224,
    "image_size": 32,
    "patch_size": 8,
}
_DECODER: dict[str, Option] = {
    "vocab_size": WORDS,
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "intermediate_size": 224,
    "max_position_embeddings": 64,
    "use_cache": False,
}

# class, tokens, configuration
_TEXT: tuple[tuple[str, int, dict[str, Option]], ...] = (
    ("BertForSequenceClassification", 16, _ENCODER),
    ("RobertaForSequenceClassification", 16, _ENCODER),
    ("XLMRobertaForSequenceClassification", 16, _ENCODER),
    (
        "DistilBertForSequenceClassification",
        16,
        {
            "vocab_size": WORDS,
            "dim": 96,
            "n_layers": 3,
            "n_heads": 8,
            "hidden_dim": 224,
            "max_position_embeddings": 40,
        },
    ),
    (
        "DebertaV2ForSequenceClassification",
        16,
        {
            **_ENCODER,
            "relative_attention": True,
            "pos_att_type": ("p2c", "c2p"),
            "position_buckets": 16,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
        },
    ),
    ("ElectraForSequenceClassification", 16, {**_ENCODER, "embedding_size": 64}),
    (
        "ModernBertForSequenceClassification",
        24,
        {
            **_ENCODER,
            "global_attn_every_n_layers": 3,
            "local_attention": 8,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "cls_token_id": 1,
            "sep_token_id": 2,
        },
    ),
    ("AlbertForSequenceClassification", 16, {**_ENCODER, "embedding_size": 64}),
    (
        "GPT2LMHeadModel",
        16,
        {
            "vocab_size": WORDS,
            "n_positions": 40,
            "n_embd": 96,
            "n_layer": 3,
            "n_head": 8,
            "use_cache": False,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
    ),
    ("LlamaForCausalLM", 16, _DECODER),
    ("Qwen2ForCausalLM", 16, {**_DECODER, "tie_word_embeddings": True}),
    (
        "T5EncoderModel",
        16,
        {
            "vocab_size": WORDS,
            "d_model": 96,
            "d_kv": 16,
            "d_ff": 224,
            "num_layers": 3,
            "num_heads": 8,
            "feed_forward_proj": "gated-gelu",
            "use_cache": False,
        },
    ),
)
_IMAGES: tuple[tuple[str, int, dict[str, Option]], ...] = (
    ("ViTForImageClassification", 32, _PICTURES),
    ("DeiTForImageClassification", 32, _PICTURES),
    (
        "SwinForImageClassification",
        64,
        {
            "image_size": 64,
            "patch_size": 4,
            "embed_dim": 48,
            "depths": (2, 2),
            "num_heads": (8, 16),
            "window_size": 4,
        },
    ),
    ("BeitForImageClassification", 32, {**_PICTURES, "use_relative_position_bias": True}),
    ("Dinov2ForImageClassification", 32, _PICTURES),
)

TRANSFORMERS: tuple[Network, ...] = (
    *(
        Network(
            library="transformers",
            factory=factory,
            shape=(tokens,),
            millions=0.5,
            options=tuple(options.items()),
            vocabulary=WORDS,
        )
        for factory, tokens, options in _TEXT
    ),
    *(
        Network(
            library="transformers",
            factory=factory,
            shape=(3, size, size),
            millions=0.5,
            options=tuple(options.items()),
        )
        for factory, size, options in _IMAGES
    ),
)


def configured(network: Network) -> nn.Module:
    """The model of a row, from its configuration.

    Raises ImportError where transformers is not installed.
    """
    import transformers

    architecture = getattr(transformers, network.factory)
    options = {
        name: list(value) if isinstance(value, tuple) else value for name, value in network.options
    }
    model: nn.Module = architecture(architecture.config_class(**options))
    return model
