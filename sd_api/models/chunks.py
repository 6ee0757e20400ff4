"""How a prompt is cut into what a text encoder of CLIP's kind reads at once; knows no torch."""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sd_api.errors import OutOfLimits
from sd_api.models import hub
from sd_api.models.bounded_files import read_object
from sd_api.models.pipeline_files import SD_PIPELINES, SDXL_PIPELINES
from sd_api.models.sources import MODEL_INDEX, PART_CONFIG, SD1_CONFIG, HubModel, ModelFile, ModelSource
from sd_api.prompting.prompt import Break, Piece, Pieces

log = logging.getLogger(__name__)

MOST_CHUNKS = 512
"""Chunks of all texts of a picture, each as long as the longest one: in full precision, they take 300 MB with SDXL."""


@dataclass(frozen=True)
class Chunk:
    """What goes through a text encoder at once, without the tokens that begin, end and fill it.

    Attributes:
        ids: The tokens, as many as fit at most.
        weights: The weight of each.
        vectors: The places that embeddings take: the place, the embedding's name, and the number of its vector.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    vectors: tuple[tuple[int, str, int], ...] = ()


@dataclass(frozen=True)
class _Token:
    number: int
    weight: float
    vector: tuple[str, int] | None = None


def chunks(tokenizer: Any, pieces: Pieces, embeddings: Mapping[str, int] = MappingProxyType({})) -> list[Chunk]:
    """The chunks of a prompt, at least one.

    Args:
        tokenizer: Of transformers; its ``model_max_length`` counts the tokens that begin and end a chunk as well.
        pieces: The prompt.
        embeddings: The numbers of vectors of the embeddings by their names in lower case, which stand in the prompt as
            words; those of one stay in one chunk.
    """
    size = tokenizer.model_max_length - 2
    made: list[list[_Token]] = [[]]
    for piece in pieces:
        if isinstance(piece, Break):
            made.append([])
            continue
        for together in _tokens(tokenizer, piece, {name: min(count, size) for name, count in embeddings.items()}):
            if len(made[-1]) + len(together) > size:
                made.append([])
            made[-1] += together
    return [_chunk(tokens) for tokens in made]


def _tokens(tokenizer: Any, piece: Piece, embeddings: Mapping[str, int]) -> Iterator[list[_Token]]:
    """The tokens of a piece; those that stay together come together."""
    texts = [piece.text]
    if embeddings:
        names = "|".join(map(re.escape, sorted(embeddings, key=len, reverse=True)))
        texts = re.split(rf"(?<!\w)({names})(?!\w)", piece.text, flags=re.IGNORECASE)
    for number, text in enumerate(texts):
        if number % 2:
            name = text.lower()
            # Any token would do in its place; this one is no end of a prompt to an encoder.
            yield [_Token(0, piece.weight, (name, each)) for each in range(embeddings[name])]
        else:
            for each in tokenizer(text, add_special_tokens=False, verbose=False).input_ids:
                yield [_Token(each, piece.weight)]


def _chunk(tokens: Sequence[_Token]) -> Chunk:
    return Chunk(
        tuple(token.number for token in tokens),
        tuple(token.weight for token in tokens),
        tuple((place, *token.vector) for place, token in enumerate(tokens) if token.vector is not None),
    )


def refuse_too_many(texts: Iterable[Sequence[Chunk]]) -> None:
    """Refuse prompts that change so often, and are so long, that reading them would cost more than the picture.

    Args:
        texts: The chunks of each text that acts in some step.

    Raises:
        OutOfLimits: They are more than ``MOST_CHUNKS``.
    """
    longest = 0
    for number, several in enumerate(texts, 1):
        longest = max(longest, len(several))
        if number * longest > MOST_CHUNKS:
            raise OutOfLimits(
                "prompt",
                "changes so often, or is so long, that the model would have to read more than "
                f"{MOST_CHUNKS} chunks of 75 tokens; shorten it, or ask for fewer steps",
            )


def tokenizer_on_disk(source: ModelSource) -> Any | None:
    """A model's tokenizer, without loading the model.

    Returns:
        None where the model's files are not on this machine, or where it reads text in another way.
    """
    # A single file has none; those of Stable Diffusion 1, 2 and XL are the same but for what fills a chunk.
    if isinstance(source, ModelFile):
        return _tokenizer(SD1_CONFIG)
    folder = hub.cached(source.repo_id, half=True) if isinstance(source, HubModel) else source.path
    try:
        return None if folder is None else _tokenizer(folder)
    except Exception:
        # Whatever is wrong with the folder, loading the model says it better.
        log.warning("The tokenizer in %s cannot be read", folder, exc_info=True)
        return None


def encoder_widths(source: ModelSource) -> dict[str, int] | None:
    """The widths of a model's text encoders by their components' names; None where its folder is not here to say."""
    if isinstance(source, ModelFile):
        return None
    folder = hub.cached(source.repo_id, half=True) if isinstance(source, HubModel) else source.path
    configs = [] if folder is None else sorted(folder.glob(f"text_encoder*/{PART_CONFIG}"))
    return {path.parent.name: int(read_object(path)["hidden_size"]) for path in configs} or None


@lru_cache(maxsize=8)
def _tokenizer(folder: Path) -> Any | None:
    index = json.loads((folder / MODEL_INDEX).read_text(encoding="utf-8"))
    if index["_class_name"] not in SD_PIPELINES | SDXL_PIPELINES:
        return None
    from transformers import CLIPTokenizer

    name = "tokenizer" if (folder / "tokenizer").is_dir() else "tokenizer_2"
    return CLIPTokenizer.from_pretrained(folder / name, local_files_only=True)
