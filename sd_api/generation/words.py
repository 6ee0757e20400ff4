"""What the prompts of a job add to its work."""

from dataclasses import dataclass

from sd_api.errors import OutOfLimits
from sd_api.generation.operation import Operation
from sd_api.generation.prompted import PROMPTS

# Characters of a chunk of 75 tokens, about.
_CHUNK = 300

# What a text encoder does for a chunk, as pixels of a step: 1 % of those of 512 x 512 with Stable Diffusion 1 and of
# 1024 x 1024 with SDXL, by their arithmetic.
READING_PIXELS = 64 * 64

# How much longer a step takes for each further chunk, which all pixels look at, by the same arithmetic.
LONGER = 0.01


@dataclass(frozen=True)
class Words:
    """The prompts of one picture, as far as they are work.

    Attributes:
        terms: Prompts that ``AND`` joins.
        longest: Chunks of the longest text, about; what goes through a denoiser at once has one length.
        texts: Texts that act in some step, the negative ones included, at most.
    """

    terms: int = 1
    longest: int = 1
    texts: int = 2

    @classmethod
    def of(cls, operation: Operation) -> "Words":
        """Those of an operation whose alternatives have been chosen."""
        try:
            prompts = {name: operation.read(name) for name in PROMPTS}
        except OutOfLimits:
            # An alternative that only this seed chooses; the job fails as it begins.
            return cls()
        lengths = (len(getattr(operation, name)) // _CHUNK + prompt.breaks for name, prompt in prompts.items())
        texts = sum(prompt.texts(operation.steps_run) for prompt in prompts.values())
        return cls(len(prompts["prompt"].terms), 1 + max(lengths), texts)

    @property
    def predictions(self) -> float:
        """The work of a step, where that of a short prompt and a negative one is 1."""
        return (self.terms + 1) / 2 * (1 + LONGER * (self.longest - 1))

    @property
    def reading_pixels(self) -> int:
        """The work of the text encoders, in pixels of a step."""
        return self.texts * self.longest * READING_PIXELS
