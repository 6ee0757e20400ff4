"""What a text encoder does not read of a prompt."""

from collections.abc import Iterator
from typing import Any

from sd_api.generation.operation import Operation
from sd_api.generation.prompted import PROMPTS

# What prompts call them in ``devices``.
LORAS = "LoRAs"

# Characters of a prompt in a warning.
QUOTED = 200


def plain_only(operation: Operation, *, takes_loras: bool = False) -> Iterator[str]:
    """Sentences about what of the prompt language has no effect on a model that reads the words alone.

    Args:
        operation: What is asked for.
        takes_loras: Whether the LoRAs that a prompt names act.
    """
    for name in PROMPTS:
        devices = [each for each in operation.read(name).devices if not (takes_loras and each == LORAS)]
        if devices:
            yield f"{name}: this model reads the words alone, so {', '.join(devices)} had no effect."


def beyond_limit(field: str, prompt: str, tokenizer: Any, longest: int) -> Iterator[str]:
    """A sentence about the end of a prompt that does not fit.

    Args:
        field: The prompt's name.
        prompt: The prompt.
        tokenizer: Of the text encoder.
        longest: The tokens that are read, without those that begin and end a prompt.
    """
    tokens = tokenizer(prompt, add_special_tokens=False).input_ids
    if rest := tokens[longest:]:
        quoted = _shortened(tokenizer.decode(rest).strip())
        yield (
            f"{field}: this model reads {longest} tokens, about as many short words, "
            f"and has not seen the end: “{quoted}”"
        )


def _shortened(text: str) -> str:
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}…"
