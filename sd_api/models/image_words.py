"""What prepares words and images for a text encoder that sees images, without what it would need for videos."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import ProcessorMixin, Qwen2VLProcessor

REPLACED = ("transformers", Qwen2VLProcessor.__name__)
"""The library and the class in whose place it stands."""


class ImageWords(Qwen2VLProcessor):  # type: ignore[misc]
    """A processor of Qwen2-VL and Qwen2.5-VL for words and images; its own takes videos as well, by torchvision.

    Args:
        image_processor: Prepares images.
        tokenizer: Prepares words.
        chat_template: Of the model.
    """

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        self.image_token = getattr(tokenizer, "image_token", "<|image_pad|>")
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def processor_of(folder: Path, entries: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """The processor of a model's folder that takes the place of its own, by its component's name; most have none.

    Args:
        folder: Of the model.
        entries: Its components: the library and the class of each.
    """
    name = "processor"
    if tuple(entries.get(name, ())) != REPLACED:
        return {}
    return {name: ImageWords.from_pretrained(folder / name, local_files_only=True)}
