"""Captions in which a span of words has a weight, as the text encoder gets them; for ``emphasis.py``."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sd_api.models.chunks import Chunk, chunks
from sd_api.models.families.clip_words import weighted
from sd_api.prompting.parser import parse

UNWEIGHTED, LARGEST = 0.3, 1.8
"""The share of captions without a weight, and the largest weight."""


def weigh(rng: np.random.Generator, words: Sequence[str]) -> tuple[str, str, float]:
    """Give a span of words a weight.

    Args:
        rng: Where the randomness comes from.
        words: Those of a caption; there may be none.

    Returns:
        The caption in the server's language, the caption without the span, and the weight, 0 to ``LARGEST``; both are
        the same where nothing has a weight, which is 1 then.
    """
    if not words or rng.random() < UNWEIGHTED:
        return " ".join(words), " ".join(words), 1.0
    length = len(words) if rng.random() < 0.1 else min(int(rng.geometric(0.6)), len(words))
    begin = int(rng.integers(len(words) - length + 1))
    span, end = " ".join(words[begin : begin + length]), begin + length
    weight = round(float(rng.uniform(0, LARGEST)), 2)
    return (
        " ".join([*words[:begin], f"({span}:{weight})", *words[end:]]),
        " ".join([*words[:begin], *words[end:]]),
        weight,
    )


@dataclass(frozen=True)
class Prompts:
    """Prompts of one chunk each.

    Attributes:
        chunks: What each says.
        ids: The tokens with those that begin, end and fill a chunk, (prompts, 77).
    """

    chunks: list[Chunk]
    ids: torch.Tensor

    def weighted(self, states: torch.Tensor) -> torch.Tensor:
        """The text encoder's states of these prompts with their weights, both (prompts, 77, width)."""
        return torch.cat([weighted(row[None], chunk) for row, chunk in zip(states, self.chunks, strict=True)])

    def is_word(self) -> torch.Tensor:
        """Which tokens are words rather than what begins, ends or fills a chunk, (prompts, 77)."""
        lengths = torch.tensor([len(chunk.ids) for chunk in self.chunks])[:, None]
        places = torch.arange(self.ids.shape[1])[None]
        return (places >= 1) & (places <= lengths)


def read(tokenizer: Any, texts: Iterable[str]) -> Prompts:
    """Read prompts as the server does."""
    read_chunks = [chunks(tokenizer, parse(text).at(0, 1)[0])[0] for text in texts]
    ids = torch.full((len(read_chunks), tokenizer.model_max_length), tokenizer.pad_token_id)
    ids[:, 0] = tokenizer.bos_token_id
    for row, chunk in zip(ids, read_chunks, strict=True):
        row[1 : 1 + len(chunk.ids)] = torch.tensor(chunk.ids, dtype=row.dtype)
        row[1 + len(chunk.ids)] = tokenizer.eos_token_id
    return Prompts(read_chunks, ids)


@dataclass(frozen=True)
class Lesson:
    """Captions with weights, and what they are compared with.

    Attributes:
        weighted: The captions as a user writes them.
        full: The same words; weights do not count.
        without: The captions without the spans that have a weight.
        weights: Those of the spans, (captions,).
    """

    weighted: Prompts
    full: Prompts
    without: Prompts
    weights: torch.Tensor


def lesson(rng: np.random.Generator, tokenizer: Any, captions: Iterable[str]) -> Lesson:
    """Give captions weights by chance."""
    captions = list(captions)
    texts, shorter, weights = zip(*(weigh(rng, caption.split()) for caption in captions), strict=True)
    return Lesson(
        weighted=read(tokenizer, texts),
        full=read(tokenizer, captions),
        without=read(tokenizer, shorter),
        weights=torch.tensor(weights),
    )
