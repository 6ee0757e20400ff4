"""What a text encoder does not read of a prompt."""

from collections.abc import Iterator
from typing import Any

# Characters of a prompt in a warning.
QUOTED = 200


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
