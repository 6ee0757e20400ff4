"""What a model's text encoders read of a request's prompts, known from its files before it is loaded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sd_api.generation.operation import Operation
from sd_api.generation.prompted import PROMPTS, PromptName
from sd_api.models.adapters.embedding_files import named_files, named_in
from sd_api.models.chunks import MOST_CHUNKS, Chunk, chunks, encoder_widths, refuse_too_many, tokenizer_on_disk
from sd_api.models.folders import ModelFolders
from sd_api.models.sources import ModelSource
from sd_api.prompting.prompt import Piece, Pieces, Prompt

if TYPE_CHECKING:
    from sd_api.models.adapters.embeddings import Embeddings

# Tokens of a chunk, at least; a token has one byte or more.
_TOKENS = 75


@dataclass(frozen=True)
class PromptChunks:
    """Cuts texts into what the text encoders of a model read at once.

    Attributes:
        tokenizer: Of the model.
        trained: The words that were trained; None where the prompts name none.
    """

    tokenizer: Any
    trained: "Embeddings | None"

    @classmethod
    def of(cls, operation: Operation, source: ModelSource, folders: ModelFolders) -> "PromptChunks | None":
        """For the prompts of an operation; None where the model's files do not say, see ``tokenizer_on_disk``."""
        tokenizer = tokenizer_on_disk(source)
        if tokenizer is None or not _names_trained(operation, folders):
            return None if tokenizer is None else cls(tokenizer, None)
        # It imports torch, which takes seconds, and which a server of a cluster can do without.
        from sd_api.models.adapters.embeddings import Embeddings

        return cls(tokenizer, Embeddings(encoder_widths(source), folders))

    def chunks(self, pieces: Pieces) -> list[Chunk]:
        """The chunks of a text, with the places of trained words."""
        counts: dict[str, int] = {}
        if self.trained is not None:
            text = "\n".join(piece.text for piece in pieces if isinstance(piece, Piece))
            for name, file in self.trained.usable_in(text).items():
                counts[name] = len(next(iter(self.trained.vectors(file).values())))
        return chunks(self.tokenizer, pieces, counts)


def refuse_too_long(operation: Operation, source: ModelSource, folders: ModelFolders) -> None:
    """Refuse prompts of which the text encoders would have to read too much, as the model does when it draws.

    LoRAs that act in some steps only make that more; they are known when the model is loaded.

    Args:
        operation: What is asked for of one picture.
        source: The model's files. Nothing is refused where they do not say how it reads.
        folders: Where trained words are.

    Raises:
        OutOfLimits: See ``refuse_too_many``.
    """
    names: tuple[PromptName, ...] = PROMPTS if operation.guidance > 1 else ("prompt",)
    prompts, steps = {name: operation.read(name) for name in names}, operation.steps_run
    # Most prompts are too short by far, which is seen without a tokenizer, whose first use takes seconds.
    texts = sum(prompt.texts(steps) for prompt in prompts.values())
    tokens = {name: len(getattr(operation, name).encode(errors="replace")) for name in names}
    longest = max(1 + prompt.breaks + tokens[name] // _TOKENS for name, prompt in prompts.items())
    if texts * longest <= MOST_CHUNKS and not _names_trained(operation, folders):
        return
    if (words := PromptChunks.of(operation, source, folders)) is not None:
        refuse_too_many(map(words.chunks, _distinct(prompts.values(), steps)))


def _distinct(prompts: Iterable[Prompt], steps: int) -> Iterator[Pieces]:
    """The texts that act in some step, each once."""
    seen = set()
    for prompt in prompts:
        for step in range(steps if prompt.changes else 1):
            for text in prompt.at(step, steps):
                if text not in seen:
                    seen.add(text)
                    yield text


def _names_trained(operation: Operation, folders: ModelFolders) -> bool:
    texts = "\n".join(getattr(operation, name) for name in PROMPTS)
    return operation.prompt_syntax != "plain" and bool(named_in(texts, named_files(folders)))
