"""Textual inversion (arXiv:2208.01618): words whose embeddings were trained, by the names of their files.

Their vectors take the place of tokens' embeddings while a prompt is read; the tokenizer and the text encoder stay as
they are.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch

from sd_api.errors import ServerError
from sd_api.models.adapters.embedding_files import Named, named_files, named_in
from sd_api.models.chunks import Chunk
from sd_api.models.folders import FoundFile, ModelFolders
from sd_api.models.state_dict import WeightFile

log = logging.getLogger(__name__)

# Such a file holds some vectors of a text encoder.
MAX_BYTES = 32 * 2**20

# What files for the two text encoders of Stable Diffusion XL call their vectors.
_OF_ENCODERS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}

Vectors = Mapping[str, torch.Tensor]
"""(vectors, width) for each text encoder by its component's name."""


class UnfitEmbeddingError(Exception):
    """Why an embedding cannot be used, as the end of a sentence."""


class Embeddings:
    """The embeddings that one model may use.

    Args:
        widths: Of the model's text encoders, by their components' names; None where they are not known.
        folders: Where the files are.
    """

    def __init__(self, widths: Mapping[str, int] | None, folders: ModelFolders) -> None:
        self._widths = widths
        self._folders = folders

    def files(self) -> Named:
        """Those that are there now."""
        return named_files(self._folders)

    def why_unfit(self, file: FoundFile) -> str | None:
        """Why an embedding cannot act, as the end of a sentence; None if it can."""
        try:
            self.vectors(file)
        except UnfitEmbeddingError as error:
            return str(error)
        return None

    def usable_in(self, text: str) -> Named:
        """Those whose names stand as words in a text, and that fit; the names of others are words like any other."""
        return {name: file for name, file in named_in(text, self.files()).items() if self.why_unfit(file) is None}

    def vectors(self, file: FoundFile) -> Vectors:
        """What an embedding puts in place of its name.

        Raises:
            UnfitEmbeddingError: The file cannot be read, or was made for another architecture.
        """
        vectors = _read(file)
        if isinstance(vectors, UnfitEmbeddingError):
            raise UnfitEmbeddingError(str(vectors))
        widths = {name: tensor.shape[1] for name, tensor in vectors.items()}
        if self._widths is not None and widths != self._widths:
            raise UnfitEmbeddingError("it was made for another architecture")
        return vectors


@lru_cache(maxsize=256)
def _read(file: FoundFile) -> Vectors | UnfitEmbeddingError:
    """The vectors of a file, or why there are none; a file that takes long to be refused is refused once."""
    try:
        return _vectors_of(file)
    except UnfitEmbeddingError as error:
        return error


def _vectors_of(file: FoundFile) -> Vectors:
    if file.size > MAX_BYTES:
        raise UnfitEmbeddingError(f"its file has {file.size:,} bytes; an embedding has at most {MAX_BYTES:,}")
    try:
        tensors = WeightFile(file.path).tensors()
    except ServerError as error:
        log.warning("The embedding %s cannot be read: %s", file.path, error.message)
        raise UnfitEmbeddingError("its file is damaged, or no weights alone") from None
    found = {_OF_ENCODERS[key]: tensor for key, tensor in tensors.items() if key in _OF_ENCODERS}
    if not found and len(tensors) == 1:
        found = {"text_encoder": next(iter(tensors.values()))}
    vectors = {name: (tensor[None] if tensor.ndim == 1 else tensor).clone() for name, tensor in found.items()}
    if not vectors or any(tensor.ndim != 2 or not tensor.is_floating_point() for tensor in vectors.values()):
        raise UnfitEmbeddingError("its file holds something else than vectors")
    return vectors


@contextmanager
def in_place(encoder: Any, chunk: Chunk, vectors: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Let vectors take the place of the tokens that stand for them while an encoder reads a chunk.

    Args:
        encoder: The text encoder.
        chunk: What it reads.
        vectors: Those of each name in ``chunk.vectors``.
    """
    if not chunk.vectors:
        yield
        return

    def replace(_module: torch.nn.Module, _arguments: Any, output: torch.Tensor) -> torch.Tensor:
        changed = output.clone()
        for place, name, number in chunk.vectors:
            # Before the tokens of a chunk stands the one that begins it.
            changed[:, place + 1] = vectors[name][number].to(output)
        return changed

    handle = encoder.get_input_embeddings().register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
