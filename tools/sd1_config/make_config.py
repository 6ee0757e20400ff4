"""Write the configuration of Stable Diffusion 1.x that a single-file checkpoint leaves out.

The components' settings are those of the published Stable Diffusion 1.5 repository; the tokenizer is
rebuilt from OpenAI's list of byte-pair merges. Running this twice writes the same bytes, and those of
the vocabulary and the merges are the published ones.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import click
from transformers.convert_slow_tokenizer import bytes_to_unicode

DEFAULT_OUT = Path(__file__).parents[2] / "sd_api" / "models" / "sd1_config"

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
VOCABULARY_SIZE = 49408
END_OF_WORD = "</w>"

ORIGIN = {"_diffusers_version": "0.6.0"}

MODEL_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    **ORIGIN,
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}

UNET = {
    "_class_name": "UNet2DConditionModel",
    **ORIGIN,
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 768,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
}

VAE = {
    "_class_name": "AutoencoderKL",
    **ORIGIN,
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 512,
    "scaling_factor": 0.18215,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}

TEXT_ENCODER = {
    "architectures": ["CLIPTextModel"],
    "attention_dropout": 0.0,
    # Not the tokenizer's ids, but those of the published file. They only choose the pooled output,
    # which Stable Diffusion 1.x does not use; textual inversion may add tokens beyond 49407.
    "bos_token_id": 0,
    "dropout": 0.0,
    "eos_token_id": 2,
    "hidden_act": "quick_gelu",
    "hidden_size": 768,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 1,
    "projection_dim": 768,
    "vocab_size": VOCABULARY_SIZE,
}

SCHEDULER = {
    "_class_name": "PNDMScheduler",
    **ORIGIN,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    # PNDM has no such option; the other schedulers inherit it, and latents must not be clipped.
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}


def special_token(content: str) -> dict[str, Any]:
    """How a tokenizer's configuration spells a token of its own."""
    return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


SPECIAL_TOKENS = {
    "bos_token": special_token(BEGIN),
    "eos_token": special_token(END),
    "pad_token": END,
    "unk_token": special_token(END),
}

TOKENIZER = {
    **{
        name: {"__type": "AddedToken", **token} if isinstance(token, dict) else token
        for name, token in SPECIAL_TOKENS.items()
    },
    "add_prefix_space": False,
    "do_lower_case": True,
    "errors": "replace",
    "model_max_length": 77,
    "tokenizer_class": "CLIPTokenizer",
}


def read_merges(bpe_file: Path) -> list[str]:
    """The merges that CLIP uses, best first: the file holds many more, and a title line."""
    symbols = 2 * len(bytes_to_unicode())
    count = VOCABULARY_SIZE - symbols - len((BEGIN, END))
    return gzip.decompress(bpe_file.read_bytes()).decode().splitlines()[1 : count + 1]


def make_vocabulary(merges: list[str]) -> dict[str, int]:
    """Every token's id: the bytes, the bytes that end a word, the merges, the two special tokens."""
    symbols = list(bytes_to_unicode().values())
    words = [*symbols, *(symbol + END_OF_WORD for symbol in symbols)]
    words += [merge.replace(" ", "") for merge in merges]
    words += [BEGIN, END]
    return {word: index for index, word in enumerate(words)}


def write_text(path: Path, text: str) -> None:
    """Write a file with the same bytes on every system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object) -> None:
    """Write a configuration file for people to read."""
    write_text(path, json.dumps(value, indent=2) + "\n")


@click.command(help=__doc__)
@click.argument("bpe_file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_OUT)
def main(bpe_file: Path, out: Path) -> None:
    """Command line: BPE_FILE is bpe_simple_vocab_16e6.txt.gz."""
    merges = read_merges(bpe_file)
    write_json(out / "model_index.json", MODEL_INDEX)
    write_json(out / "unet" / "config.json", UNET)
    write_json(out / "vae" / "config.json", VAE)
    write_json(out / "text_encoder" / "config.json", TEXT_ENCODER)
    write_json(out / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_json(out / "tokenizer" / "tokenizer_config.json", TOKENIZER)
    write_json(out / "tokenizer" / "special_tokens_map.json", SPECIAL_TOKENS)
    vocabulary = json.dumps(make_vocabulary(merges), ensure_ascii=False, separators=(",", ":"))
    write_text(out / "tokenizer" / "vocab.json", vocabulary)
    write_text(out / "tokenizer" / "merges.txt", "\n".join(["#version: 0.2", *merges, ""]))


if __name__ == "__main__":
    main()
