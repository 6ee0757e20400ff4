"""``POST /prompt``: what the server understands of the prompts of a form."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from flask import Blueprint
from pydantic import Field

from sd_api.generation.operation import Operation
from sd_api.generation.operations import OPERATIONS
from sd_api.generation.prompted import PROMPTS, PromptName
from sd_api.models.catalog import ModelCatalog
from sd_api.models.chunks import Chunk
from sd_api.models.prompt_chunks import PromptChunks, refuse_too_long
from sd_api.prompting.prompt import Break, Lora, Pieces
from sd_api.settings import Settings
from sd_api.web.client import is_on_this_computer
from sd_api.web.plugin.documents import Pictures
from sd_api.web.plugin.forms import PLUGIN, JobForm, decode_form, sent_once, without
from sd_api.web.plugin.routes import sent_form


class PromptFields(JobForm):
    """What this endpoint takes besides the fields of ``/txt2img``, of which the prompts, steps and seed matter."""

    url_path: str = Field(
        default="", description="a custom model; empty is the main model", examples=["", "my_first_model"]
    )


# Bytes of an answer, after which no further stage of a prompt is shown: with one that changes in each step, a short
# request would have a long answer.
MOST_SHOWN = 1 << 20

PromptForm = PLUGIN.model(OPERATIONS["txt2img"], "PromptForm", PromptFields)


def make_blueprint(settings: Settings, pictures: Pictures) -> Blueprint:
    """The endpoint; no engine is asked."""
    blueprint = Blueprint("prompts", __name__)
    catalog = ModelCatalog(settings)

    def prompt() -> dict[str, Any]:
        form = sent_form()
        model = catalog.named(sent_once(form, "url_path") or None, from_here=is_on_this_computer())
        fields = without(form, PromptFields)
        spec, _ = decode_form(fields, "txt2img", settings.limits, pictures.read, model.name)
        seed = spec.seeds[0]
        operation = spec.operation.for_seed(seed)
        refuse_too_long(operation, model.source, catalog.folders)
        words = PromptChunks.of(operation, model.source, catalog.folders)
        read: dict[str, Any] = {name: _read(operation, name, words) for name in PROMPTS}
        return {"status": "success", "seed": seed, **read}

    blueprint.add_url_rule("/prompt", view_func=prompt, methods=["POST"])
    return blueprint


def _read(operation: Operation, name: PromptName, words: PromptChunks | None) -> dict[str, Any]:
    """What a prompt says; see ``ReadPrompt`` in the schemas."""
    prompt = operation.read(name)
    stages: list[dict[str, Any]] = []
    shown = left_out = 0
    for first, terms in _stages(operation, name):
        if shown < MOST_SHOWN:
            stages.append({"first_step": first, "prompts": [_words(pieces, words) for pieces in terms]})
            shown += len(json.dumps(stages[-1]))
        else:
            left_out += 1
    return {
        "text": getattr(operation, name),
        "weights": [term.weight for term in prompt.terms],
        "loras": [_lora(lora, operation.steps_run) for lora in prompt.loras],
        "stages": stages,
        "stages_left_out": left_out,
    }


def _lora(lora: Lora, steps: int) -> dict[str, Any]:
    acts = [step + 1 for step in range(steps) if lora.acts(step, steps)] or [0]
    return {
        "name": lora.name,
        "weight": lora.weight,
        "text_weight": lora.text_weight,
        "first_step": acts[0],
        "last_step": acts[-1],
    }


def _words(pieces: Pieces, words: PromptChunks | None) -> dict[str, Any]:
    return {
        "pieces": [{"break": True} if isinstance(piece, Break) else asdict(piece) for piece in pieces],
        "chunks": None if words is None else [_tokens(words, chunk) for chunk in words.chunks(pieces)],
    }


def _tokens(words: PromptChunks, chunk: Chunk) -> list[dict[str, Any]]:
    """The tokens of a chunk, and in the places of trained words their vectors."""
    tokens = words.tokenizer.convert_ids_to_tokens(list(chunk.ids))
    entries = [{"token": token, "weight": weight} for token, weight in zip(tokens, chunk.weights, strict=True)]
    for place, name, number in chunk.vectors:
        entries[place] |= {"token": name, "vector": number + 1}
    return entries


def _stages(operation: Operation, name: PromptName) -> Iterator[tuple[int, tuple[Pieces, ...]]]:
    """What acts, and the step from which it does, counted from 1."""
    prompt, steps, last = operation.read(name), operation.steps_run, None
    for step in range(steps if prompt.changes else 1):
        if (terms := prompt.at(step, steps)) != last:
            yield step + 1, terms
            last = terms
