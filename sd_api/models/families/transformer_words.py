"""How the families with a transformer read prompts, and what their text encoders make of them."""

from collections.abc import Callable, Hashable

from sd_api.errors import GenerationFailed
from sd_api.generation.operation import Operation
from sd_api.models.adapters.active_loras import ActiveLora, acting
from sd_api.models.components import Parts
from sd_api.models.families.base import BROKEN_WORDS
from sd_api.models.families.latents import LatentFamily
from sd_api.models.families.transformer_rows import CachedWords, Conditioning, Words, tensors_of

# Capabilities that families with a transformer have or do not.
CONTROLS, LORAS, REFERENCES, TRUE_GUIDANCE = "controls", "loras", "references", "true_guidance"
IP_ADAPTERS = "ip_adapters"

# The method of diffusers' pipelines that load LoRAs.
_LOADER = "load_lora_weights"


class TransformerWords(LatentFamily):
    """The half of a family that reads prompts.

    Attributes:
        capabilities: Of its models, beside those that every family of this kind has.
        tokenizer: The name of the tokenizer whose text encoder reads the most.
        longest: The tokens that it reads.
        chats: Whether prompts are written into a chat, by the template of the tokenizer.
        takes_loras: Whether LoRAs act, where the pipeline loads any.
        from_zero: Whether guidance adds to the prompt's own prediction, so that it acts above 0 rather than above 1.
    """

    capabilities: tuple[str, ...] = ("negative_prompt",)
    tokenizer = "tokenizer"
    longest = 512
    chats = False
    from_zero = False
    takes_loras = True

    def instruction(self, parts: Parts, *, negative: bool) -> str:
        """What stands before a prompt and takes of the tokens that are read."""
        return ""

    def capabilities_of(self, parts: Parts) -> tuple[str, ...]:
        """Those of a model: its pipeline may load LoRAs."""
        return (*self.capabilities, *((LORAS,) if self.takes_loras and hasattr(parts.pipeline, _LOADER) else ()))

    @property
    def sees_by_itself(self) -> bool:
        """Whether it sees references without adapters for them."""
        return REFERENCES in self.capabilities and IP_ADAPTERS not in self.capabilities

    def guided(self, parts: Parts, operation: Operation) -> bool:
        """Whether there is classifier-free guidance."""
        if TRUE_GUIDANCE in self.capabilities:
            return operation.true_guidance > 1
        return operation.guidance > (0 if self.from_zero else 1)

    def context(self, operation: Operation) -> Hashable:
        """What the words depend on beside the prompt."""
        return operation.clip_skip

    def encode(self, parts: Parts, operation: Operation, look_alive: Callable[[], None] = lambda: None) -> Conditioning:
        """See Family."""
        # What does not fit is refused before work is done.
        controls = parts.controls.find(operation.controls) if CONTROLS in self.capabilities else ()
        loras, guided = self._loras(parts, operation), self.guided(parts, operation)
        adapted = operation.references if IP_ADAPTERS in self.capabilities else ()
        references = parts.ip_adapters.see(adapted, guided=guided)
        # As of the words, what acts in the last step.
        of_texts = parts.loras.of_texts(loras[-1])

        def read(prompt: str, *, negative: bool) -> Words:
            key = prompt, negative, self.context(operation), of_texts

            def made() -> CachedWords:
                look_alive()
                parts.place(parts.text_encoders)
                return self._read(parts.reading(of_texts), operation, prompt, negative=negative)

            return parts.cached("words", key, made).words

        prompt, negative = read(operation.read("prompt").plain, negative=False), None
        if guided:
            words = operation.read("negative_prompt").plain if "negative_prompt" in self.capabilities else ""
            negative = read(words, negative=True)
        return Conditioning(prompt=prompt, negative=negative, loras=loras, references=references, controls=controls)

    def _loras(self, parts: Parts, operation: Operation) -> tuple[tuple[ActiveLora, ...], ...]:
        """What acts in all steps, or in each step that was asked for."""
        if LORAS not in self.capabilities_of(parts):
            return ((),)
        found = parts.loras.find(operation.asked_loras)
        steps = operation.steps_run if any(each.lora.changes for each in found) else 1
        return tuple(acting(found, step, steps) for step in range(steps))

    def _read(self, parts: Parts, operation: Operation, prompt: str, *, negative: bool) -> CachedWords:
        words = self.words(parts, operation, prompt, negative=negative)
        # What is cached would break every later picture of these words as well.
        if not all(tensor.isfinite().all() for tensor in tensors_of(words)):
            raise GenerationFailed(BROKEN_WORDS)
        return CachedWords(words)

    def words(self, parts: Parts, operation: Operation, prompt: str, *, negative: bool) -> Words:
        """What the text encoders, which are on the device, make of one prompt.

        Args:
            parts: The model's components.
            operation: What to do; few families look at more than the prompt.
            prompt: The prompt, or the negative one.
            negative: Which of the two it is.
        """
        raise NotImplementedError
