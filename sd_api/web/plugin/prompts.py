"""``POST /prompt``: what the server understands of the prompts of a form."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from flask import Blueprint
from pydantic import Field

from sd_api.errors import OutOfLimits
from sd_api.generation.operation import PROMPTS, Operation, PromptName
from sd_api.generation.operations import OPERATIONS
from sd_api.models.catalog import ModelCatalog
from sd_api.models.chunks import Chunk, chunks, tokenizer_on_disk
from sd_api.prompting.prompt import Break, Piece, Pieces
from sd_api.settings import Settings
from sd_api.web.plugin.documents import Pictures
from sd_api.web.plugin.forms import PLUGIN, JobForm, decode_form, sent_once, without
from sd_api.web.plugin.routes import sent_form


class PromptFields(JobForm):
    """What this endpoint takes besides the fields of ``/txt2img``, of which the prompts, steps and seed matter."""

    url_path: str = Field(
        default="", description="a custom model; empty is the main model", examples=["", "my_first_model"]
    )


# Characters of all stages of a prompt that are shown; with one that changes in each step, a short request would have a
# long answer.
MOST_SHOWN = 50_000

PromptForm = PLUGIN.model(OPERATIONS["txt2img"], "PromptForm", PromptFields)


def make_blueprint(settings: Settings, pictures: Pictures) -> Blueprint:
    """The endpoint; no engine is asked."""
    blueprint = Blueprint("prompts", __name__)
    catalog = ModelCatalog(settings)

    def prompt() -> dict[str, Any]:
        form = sent_form()
        model = catalog.named(sent_once(form, "url_path") or None)
        fields = without(form, PromptFields)
        spec, _ = decode_form(fields, "txt2img", settings.limits, pictures.read, model.name)
        seed = spec.seeds[0]
        operation, tokenizer = spec.operation.for_seed(seed), tokenizer_on_disk(model.source)
        read: dict[str, Any] = {name: _read(operation, name, tokenizer) for name in PROMPTS}
        return {"status": "success", "seed": seed, **read}

    blueprint.add_url_rule("/prompt", view_func=prompt, methods=["POST"])
    return blueprint


def _read(operation: Operation, name: PromptName, tokenizer: Any) -> dict[str, Any]:
    """What a prompt says; see ``ReadPrompt`` in the schemas."""
    prompt = operation.read(name)
    stages, shown = [], 0
    for first, terms in _stages(operation, name):
        shown += sum(len(piece.text) for pieces in terms for piece in pieces if isinstance(piece, Piece))
        if shown > MOST_SHOWN:
            raise OutOfLimits(
                name, f"changes so often that its stages have more than {MOST_SHOWN} characters; ask with fewer steps"
            )
        stages.append({"first_step": first, "prompts": [_words(pieces, tokenizer) for pieces in terms]})
    return {
        "text": getattr(operation, name),
        "weights": [term.weight for term in prompt.terms],
        "loras": [asdict(lora) for lora in prompt.loras],
        "stages": stages,
    }


def _words(pieces: Pieces, tokenizer: Any) -> dict[str, Any]:
    return {
        "pieces": [{"break": True} if isinstance(piece, Break) else asdict(piece) for piece in pieces],
        "chunks": None if tokenizer is None else [_tokens(tokenizer, chunk) for chunk in chunks(tokenizer, pieces)],
    }


def _stages(operation: Operation, name: PromptName) -> Iterator[tuple[int, tuple[Pieces, ...]]]:
    """What acts, and the step from which it does, counted from 1."""
    prompt, steps, last = operation.read(name), operation.steps_run, None
    for step in range(steps if prompt.changes else 1):
        if (terms := prompt.at(step, steps)) != last:
            yield step + 1, terms
            last = terms


def _tokens(tokenizer: Any, chunk: Chunk) -> list[dict[str, Any]]:
    tokens = tokenizer.convert_ids_to_tokens(list(chunk.ids))
    return [{"token": token, "weight": weight} for token, weight in zip(tokens, chunk.weights, strict=True)]
