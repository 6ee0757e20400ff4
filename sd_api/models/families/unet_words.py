"""What the families with a UNet make of prompts: what each step is conditioned with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from sd_api.errors import GenerationFailed, OutOfLimits
from sd_api.generation.operation import Operation
from sd_api.generation.operations import Edit
from sd_api.models.adapters.active_loras import ActiveLora, acting
from sd_api.models.adapters.embedding_files import Named
from sd_api.models.chunks import Chunk, chunks, refuse_too_many
from sd_api.models.component import Component
from sd_api.models.components import Parts
from sd_api.models.families.base import BROKEN_WORDS
from sd_api.models.families.clip_words import read_chunk, weighted
from sd_api.models.families.unet_rows import Conditioning, Moment, Words
from sd_api.prompting.prompt import Piece, Pieces

Layer = Callable[[Any, Any, int], torch.Tensor]
"""From an encoder, its output and ``clip_skip`` to the embeddings that a UNet takes."""


@dataclass(frozen=True)
class Asked:
    """What the text encoders are to read.

    Attributes:
        pieces: The text.
        clip_skip: The layer that is read, counted from the end.
        loras: What acts in the text encoders meanwhile.
    """

    pieces: Pieces
    clip_skip: int
    loras: tuple[ActiveLora, ...]


class PromptReader:
    """Reads the prompts of one operation.

    Args:
        parts: The model.
        layer: Chooses the layer of a text encoder.
        operation: What is asked for.
        look_alive: See Family.encode.

    Raises:
        OutOfLimits: A prompt cannot be read, or a LoRA cannot act.
    """

    def __init__(self, parts: Parts, layer: Layer, operation: Operation, look_alive: Callable[[], None]) -> None:
        self._parts = parts
        self._layer = layer
        self._operation = operation
        self._look_alive = look_alive
        self._loras = parts.loras.find(operation.asked_loras)
        # An empty negative prompt and none are the same to Stable Diffusion 1; for SDXL, none gives the zeroed
        # embedding that its pipeline uses by default.
        self._zeroes = bool(parts.pipeline.config.get("force_zeros_for_empty_prompt"))

    def conditioning(self) -> Conditioning:
        """What each step is conditioned with.

        Raises:
            OutOfLimits: The model cannot do what a prompt asks for.
            GenerationFailed: What the text encoder makes of a prompt are not numbers.
        """
        operation, guided = self._operation, self._is_guided()
        prompt, negative = operation.read("prompt"), operation.read("negative_prompt")
        if len(prompt.terms) > 1 and not guided:
            raise OutOfLimits(
                "prompt", "joins prompts with AND, which takes a guidance above 1 and a model that has it"
            )
        changes = prompt.changes or (guided and negative.changes) or any(each.lora.changes for each in self._loras)
        steps = operation.steps_run if changes else 1
        weights = tuple(term.weight for term in prompt.terms)
        asked = []
        for step in range(steps):
            loras = acting(self._loras, step, steps)
            text_loras = self._parts.loras.of_texts(loras)
            # Only the prompt is read at another layer, as diffusers' pipelines do it.
            terms = [Asked(pieces, operation.clip_skip, text_loras) for pieces in prompt.at(step, steps)]
            asked.append((terms, Asked(negative.at(step, steps)[0], 1, text_loras) if guided else None, loras))
        wanted = [each for terms, without, _ in asked for each in (*terms, without) if each is not None]
        texts = tuple(dict.fromkeys(wanted))
        encoder = self._parts.text_encoders[0]
        refuse_too_many(self._chunks(encoder, each, self._vectors(encoder, self._named(each))) for each in texts)
        words = self._of_one_length({each: self._words(each) for each in texts})
        return Conditioning(
            tuple(
                Moment(
                    tuple(words[each] for each in terms),
                    weights,
                    None if without is None else self._without(words[without], without.pieces),
                    loras,
                )
                for terms, without, loras in asked
            )
        )

    def _is_guided(self) -> bool:
        # Guidance does nothing at 1 and below, and costs as much as the picture itself. A UNet that was distilled
        # with guidance takes it as an input instead (arXiv:2310.04378).
        operation = self._operation
        guided = operation.guidance > 1 and self._parts.denoiser.config.time_cond_proj_dim is None
        return guided and not (isinstance(operation, Edit) and operation.image_guidance < 1)

    def _without(self, words: Words, pieces: Pieces) -> Words:
        """What a negative prompt is to the UNet."""
        if pieces or not self._zeroes:
            return words
        pooled = None if words.pooled is None else torch.zeros_like(words.pooled)
        return Words(torch.zeros_like(words.embeddings), pooled)

    def _of_one_length(self, words: dict[Asked, Words]) -> dict[Asked, Words]:
        """The same with empty chunks behind the shorter ones: what goes through a UNet at once has one length."""
        longest = max(each.embeddings.shape[1] for each in words.values())
        return {asked: self._padded(each, longest, asked) for asked, each in words.items()}

    def _padded(self, words: Words, length: int, asked: Asked) -> Words:
        if (missing := length - words.embeddings.shape[1]) == 0:
            return words
        empty = self._words(replace(asked, pieces=())).embeddings
        return Words(torch.cat([words.embeddings, *[empty] * (missing // empty.shape[1])], 1), words.pooled)

    def _words(self, asked: Asked) -> Words:
        named = self._named(asked)
        return self._parts.cached("words", (asked, tuple(named.items())), lambda: self._read(asked, named))

    def _named(self, asked: Asked) -> Named:
        text = "\n".join(piece.text for piece in asked.pieces if isinstance(piece, Piece))
        return {} if self._operation.prompt_syntax == "plain" else self._parts.embeddings.usable_in(text)

    def _vectors(self, component: Component, named: Named) -> dict[str, torch.Tensor]:
        return {name: self._parts.embeddings.vectors(file)[component.name] for name, file in named.items()}

    def _tokenizer(self, component: Component) -> Any:
        return getattr(self._parts.pipeline, component.name.replace("text_encoder", "tokenizer"))

    def _chunks(self, component: Component, asked: Asked, vectors: Mapping[str, torch.Tensor]) -> list[Chunk]:
        counts = {name: len(tensor) for name, tensor in vectors.items()}
        return chunks(self._tokenizer(component), asked.pieces, counts)

    def _read(self, asked: Asked, named: Named) -> Words:
        encoders = sorted(self._parts.text_encoders, key=lambda part: part.name)
        read = [self._read_by(encoder, asked, named) for encoder in encoders]
        # The pooled embedding is that of the last encoder, and of what it read first.
        words = Words(torch.cat([each.embeddings for each in read], -1).to(encoders[-1].dtype), read[-1].pooled)
        # What is cached would break every later picture of these words as well.
        if not all(tensor is None or tensor.isfinite().all() for tensor in (words.embeddings, words.pooled)):
            raise GenerationFailed(BROKEN_WORDS)
        return words

    def _read_by(self, component: Component, asked: Asked, named: Named) -> Words:
        tokenizer, vectors = self._tokenizer(component), self._vectors(component, named)
        several = self._chunks(component, asked, vectors)
        applied = self._parts.loras.applied(component, asked.loras)
        encoder = applied.module if isinstance(applied, Component) else applied
        outputs = []
        for chunk in several:
            self._look_alive()
            outputs.append(read_chunk(tokenizer, encoder, chunk, self._parts.device, vectors))
        embeddings = [
            weighted(self._layer(encoder, output, asked.clip_skip), chunk)
            for chunk, output in zip(several, outputs, strict=True)
        ]
        return Words(torch.cat(embeddings, 1), getattr(outputs[0], "text_embeds", None))
