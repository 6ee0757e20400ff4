"""How text encoders of CLIP's kind read a prompt: in chunks, so that nothing is dropped, and with weights.

As in AUTOMATIC1111's web UI: each chunk goes through the encoder by itself, a token's embedding is multiplied by its
weight, and the mean of the chunk is then what it was before. A prompt of one chunk without weights is read as
diffusers' pipelines read it.
"""

from collections.abc import Mapping
from typing import Any

import torch

from sd_api.models.adapters.embeddings import in_place
from sd_api.models.chunks import Chunk


def read_chunk(
    tokenizer: Any, encoder: Any, chunk: Chunk, device: torch.device, vectors: Mapping[str, torch.Tensor]
) -> Any:
    """What an encoder makes of a chunk, with its hidden states; weights are not part of it.

    Args:
        tokenizer: Of transformers.
        encoder: The text encoder.
        chunk: What it reads.
        device: Where it is.
        vectors: Those of each embedding in the chunk, by name.
    """
    length = tokenizer.model_max_length
    ids = [tokenizer.bos_token_id, *chunk.ids, tokenizer.eos_token_id]
    padded = torch.tensor([ids + [tokenizer.pad_token_id] * (length - len(ids))], device=device)
    mask = None
    if getattr(encoder.config, "use_attention_mask", False):
        mask = torch.tensor([[1] * len(ids) + [0] * (length - len(ids))], device=device)
    with in_place(encoder, chunk, vectors):
        return encoder(padded, attention_mask=mask, output_hidden_states=True)


def weighted(embeddings: torch.Tensor, chunk: Chunk) -> torch.Tensor:
    """Let the tokens of a chunk count by their weights.

    Args:
        embeddings: (1, tokens, width), those of the tokens that begin, end and fill the chunk included.
        chunk: The chunk.
    """
    if all(weight == 1 for weight in chunk.weights):
        return embeddings
    factors = torch.ones(embeddings.shape[1], device=embeddings.device, dtype=embeddings.dtype)
    factors[1 : 1 + len(chunk.weights)] = torch.tensor(chunk.weights, device=embeddings.device, dtype=embeddings.dtype)
    changed = embeddings * factors[:, None]
    return changed * (embeddings.mean() / changed.mean())
