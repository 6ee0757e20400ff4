"""``POST /prompt``: what the server understands of the prompts of a form."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flask import Blueprint
from pydantic import Field

from sd_api.errors import OutOfLimits
from sd_api.generation.operation import Operation
from sd_api.generation.operations import OPERATIONS
from sd_api.generation.prompted import PROMPTS, PromptName
from sd_api.models.adapters.embedding_files import named_files, named_in
from sd_api.models.catalog import ModelCatalog
from sd_api.models.chunks import Chunk, chunks, encoder_widths, tokenizer_on_disk
from sd_api.models.folders import ModelFolders
from sd_api.models.providers import CatalogModel
from sd_api.prompting.prompt import Break, Lora, Piece, Pieces
from sd_api.settings import Settings
from sd_api.web.plugin.documents import Pictures
from sd_api.web.plugin.forms import PLUGIN, JobForm, decode_form, sent_once, without
from sd_api.web.plugin.routes import sent_form

if TYPE_CHECKING:
    from sd_api.models.adapters.embeddings import Embeddings


class PromptFields(JobForm):
    """What this endpoint takes besides the fields of ``/txt2img``, of which the prompts, steps and seed matter."""

    url_path: str = Field(
        default="", description="a custom model; empty is the main model", examples=["", "my_first_model"]
    )


# Characters, or tokens, of all stages of a prompt that are shown; with one that changes in each step, or that names
# words of many vectors, a short request would have a long answer.
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
        words = None if tokenizer is None else _Words(tokenizer, _trained(operation, model, catalog.folders))
        read: dict[str, Any] = {name: _read(operation, name, words) for name in PROMPTS}
        return {"status": "success", "seed": seed, **read}

    blueprint.add_url_rule("/prompt", view_func=prompt, methods=["POST"])
    return blueprint


def _trained(operation: Operation, model: CatalogModel, folders: ModelFolders) -> "Embeddings | None":
    """The words that were trained, where a prompt names one."""
    texts = "\n".join(getattr(operation, name) for name in PROMPTS)
    if operation.prompt_syntax == "plain" or not named_in(texts, named_files(folders)):
        return None
    # It imports torch, which takes seconds, and which a server of a cluster can do without.
    from sd_api.models.adapters.embeddings import Embeddings

    return Embeddings(encoder_widths(model.source), folders)


@dataclass(frozen=True)
class _Words:
    """What a text encoder reads of a text.

    Attributes:
        tokenizer: Of the model.
        trained: The words that were trained; None where there are none.
    """

    tokenizer: Any
    trained: "Embeddings | None"

    def chunks(self, pieces: Pieces) -> list[list[dict[str, Any]]]:
        """The tokens of each chunk, and in the places of trained words their vectors."""
        counts: dict[str, int] = {}
        if self.trained is not None:
            text = "\n".join(piece.text for piece in pieces if isinstance(piece, Piece))
            for name, file in self.trained.usable_in(text).items():
                counts[name] = len(next(iter(self.trained.vectors(file).values())))
        return [self._tokens(chunk) for chunk in chunks(self.tokenizer, pieces, counts)]

    def _tokens(self, chunk: Chunk) -> list[dict[str, Any]]:
        tokens = self.tokenizer.convert_ids_to_tokens(list(chunk.ids))
        entries = [{"token": token, "weight": weight} for token, weight in zip(tokens, chunk.weights, strict=True)]
        for place, name, number in chunk.vectors:
            entries[place] |= {"token": name, "vector": number + 1}
        return entries


def _read(operation: Operation, name: PromptName, words: _Words | None) -> dict[str, Any]:
    """What a prompt says; see ``ReadPrompt`` in the schemas."""
    prompt = operation.read(name)
    stages, characters, tokens = [], 0, 0
    for first, terms in _stages(operation, name):
        characters += sum(len(piece.text) for pieces in terms for piece in pieces if isinstance(piece, Piece))
        if characters > MOST_SHOWN:
            raise _too_long(name, "characters")
        shown = [_words(pieces, words) for pieces in terms]
        tokens += sum(len(chunk) for each in shown for chunk in each["chunks"] or ())
        if tokens > MOST_SHOWN:
            raise _too_long(name, "tokens")
        stages.append({"first_step": first, "prompts": shown})
    return {
        "text": getattr(operation, name),
        "weights": [term.weight for term in prompt.terms],
        "loras": [_lora(lora, operation.steps_run) for lora in prompt.loras],
        "stages": stages,
    }


def _too_long(name: PromptName, what: str) -> OutOfLimits:
    return OutOfLimits(
        name, f"changes so often that its stages have more than {MOST_SHOWN} {what}; ask with fewer steps"
    )


def _lora(lora: Lora, steps: int) -> dict[str, Any]:
    acts = [step + 1 for step in range(steps) if lora.acts(step, steps)] or [0]
    return {
        "name": lora.name,
        "weight": lora.weight,
        "text_weight": lora.text_weight,
        "first_step": acts[0],
        "last_step": acts[-1],
    }


def _words(pieces: Pieces, words: _Words | None) -> dict[str, Any]:
    return {
        "pieces": [{"break": True} if isinstance(piece, Break) else asdict(piece) for piece in pieces],
        "chunks": None if words is None else words.chunks(pieces),
    }


def _stages(operation: Operation, name: PromptName) -> Iterator[tuple[int, tuple[Pieces, ...]]]:
    """What acts, and the step from which it does, counted from 1."""
    prompt, steps, last = operation.read(name), operation.steps_run, None
    for step in range(steps if prompt.changes else 1):
        if (terms := prompt.at(step, steps)) != last:
            yield step + 1, terms
            last = terms
