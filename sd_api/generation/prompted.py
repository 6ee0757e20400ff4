"""The prompts of an operation, and how they are read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from sd_api.errors import InvalidField, OutOfLimits
from sd_api.generation.fields import Param, derived
from sd_api.prompting.choices import chosen
from sd_api.prompting.faults import PromptFault
from sd_api.prompting.parser import parse, parse_plain
from sd_api.prompting.prompt import Prompt

PromptName = Literal["prompt", "negative_prompt"]
PROMPTS: tuple[PromptName, ...] = ("prompt", "negative_prompt")


@dataclass(frozen=True, kw_only=True)
class Prompted:
    """What is asked for in words."""

    prompt: Annotated[
        str,
        Param(
            label="Prompt",
            aliases=("text", "positive", "positive_prompt", "caption"),
            description="What to draw; it may be empty.",
            example="corgi with a top hat",
            longest="max_prompt_length",
            per_image=True,
            control="text",
        ),
    ]
    negative_prompt: Annotated[
        str,
        Param(
            label="Negative prompt",
            aliases=("negative", "neg_prompt", "uc"),
            description="What to avoid. It acts while the guidance is above 1, or the true guidance where a "
            "model has one.",
            example="monocle",
            longest="max_prompt_length",
            per_image=True,
            requires="negative_prompt",
            control="text",
            png_key="Negative prompt",
        ),
    ] = ""
    prompt_syntax: Annotated[
        str,
        Param(
            label="Prompt syntax",
            description="How the prompts are read: full with weights, schedules, alternatives and joined prompts, see "
            "docs/prompts.md; plain as text alone.",
            example="full",
            choices=("full", "plain"),
            per_image=True,
            control="choice",
            png_key="Prompt syntax",
        ),
    ] = "full"

    def for_seed(self, seed: int) -> Self:
        """What is asked for of one picture: an alternative is chosen where a prompt has several."""
        texts = self._chosen(seed)
        if all(text == getattr(self, name) for name, text in texts.items()):
            return self
        return derived(self, type(self), **texts)

    def read(self, name: PromptName) -> Prompt:
        """What a prompt says, as ``prompt_syntax`` has it; its alternatives have been chosen.

        Raises:
            OutOfLimits: It cannot be read.
        """
        text = getattr(self, name)
        try:
            return self._read(name, text)
        except PromptFault as fault:
            raise OutOfLimits(name, fault.sentence(text)) from None

    def _prompt_faults(self) -> Iterator[InvalidField]:
        # What is wrong with an alternative that another seed chooses is found when that picture begins.
        for name, text in self._chosen(seed=0).items():
            try:
                self._read(name, text)
            except PromptFault as fault:
                yield OutOfLimits(name, fault.sentence(text))

    def _chosen(self, seed: int) -> dict[PromptName, str]:
        if self.prompt_syntax == "plain":
            return {name: getattr(self, name) for name in PROMPTS}
        # Each with a seed of its own, so that the two prompts choose independently.
        return {name: chosen(getattr(self, name), f"{seed} {name}") for name in PROMPTS}

    def _read(self, name: PromptName, text: str) -> Prompt:
        return parse_plain(text) if self.prompt_syntax == "plain" else parse(text, negative=name == "negative_prompt")
