"""The tokenizer and the text encoder: CLIP's own classes, made small."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from .captions import corpus

WIDTH = 160
POSITIONS = 77


def make_tokenizer() -> CLIPTokenizer:
    """One whose known words are one token each."""
    return bytewise_tokenizer(_learn_merges(bytewise_tokenizer()))


def bytewise_tokenizer(merges: Sequence[tuple[str, str]] = ()) -> CLIPTokenizer:
    """Every byte is a token, inside a word and at its end, so any text tokenizes; so is what merges make of them."""
    symbols = list(bytes_to_unicode().values())
    merged = ("".join(pair) for pair in merges)
    tokens = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *merged, "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=list(merges), model_max_length=POSITIONS)


def _learn_merges(bytewise: CLIPTokenizer) -> list[tuple[str, str]]:
    """Byte pair encoding, to the end: until every word of the corpus is one token."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = bytewise.backend_tokenizer.normalizer
    learner.pre_tokenizer = bytewise.backend_tokenizer.pre_tokenizer
    learner.train_from_iterator(
        corpus(), trainers.BpeTrainer(vocab_size=10_000, end_of_word_suffix="</w>", show_progress=False)
    )
    return [(first, second) for first, second in json.loads(learner.to_str())["model"]["merges"]]


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the older files that published models have too, beside ``tokenizer.json``."""
    tokenizer.save_pretrained(folder)
    tokenizer.backend_tokenizer.model.save(str(folder))
    special_tokens = json.dumps(tokenizer.special_tokens_map, indent=2, sort_keys=True)
    (folder / "special_tokens_map.json").write_text(special_tokens + "\n", encoding="utf-8")


def text_config(tokenizer: CLIPTokenizer, width: int = WIDTH, layers: int = 2) -> CLIPTextConfig:
    """The configuration of a text encoder for the tokenizer's ids."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=POSITIONS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained one."""
    model = CLIPTextModel(text_config(tokenizer))
    # As in the UNet: the fused kernel's backward pass is slow on a CPU.
    model.set_attn_implementation("eager")
    return model
