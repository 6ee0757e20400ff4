"""How a prompt is cut into what a text encoder of CLIP's kind reads at once; knows no torch."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sd_api.models import hub
from sd_api.models.pipeline_files import SD_PIPELINES, SDXL_PIPELINES
from sd_api.models.sources import MODEL_INDEX, SD1_CONFIG, HubModel, ModelFile, ModelSource
from sd_api.prompting.prompt import Break, Pieces

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chunk:
    """What goes through a text encoder at once, without the tokens that begin, end and fill it.

    Attributes:
        ids: The tokens, as many as fit at most.
        weights: The weight of each.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]


def chunks(tokenizer: Any, pieces: Pieces) -> list[Chunk]:
    """The chunks of a prompt, at least one.

    Args:
        tokenizer: Of transformers; its ``model_max_length`` counts the tokens that begin and end a chunk as well.
        pieces: The prompt.
    """
    size = tokenizer.model_max_length - 2
    runs: list[list[tuple[int, float]]] = [[]]
    for piece in pieces:
        if isinstance(piece, Break):
            runs.append([])
        else:
            ids = tokenizer(piece.text, add_special_tokens=False, verbose=False).input_ids
            runs[-1] += [(number, piece.weight) for number in ids]
    return [_chunk(run[begin : begin + size]) for run in runs for begin in range(0, max(len(run), 1), size)]


def _chunk(tokens: Sequence[tuple[int, float]]) -> Chunk:
    return Chunk(tuple(number for number, _ in tokens), tuple(weight for _, weight in tokens))


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


@lru_cache(maxsize=8)
def _tokenizer(folder: Path) -> Any | None:
    index = json.loads((folder / MODEL_INDEX).read_text(encoding="utf-8"))
    if index["_class_name"] not in SD_PIPELINES | SDXL_PIPELINES:
        return None
    from transformers import CLIPTokenizer

    name = "tokenizer" if (folder / "tokenizer").is_dir() else "tokenizer_2"
    return CLIPTokenizer.from_pretrained(folder / name, local_files_only=True)
