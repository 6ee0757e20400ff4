"""Tokenizers for tiny models: every printable character is a token."""

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CLASS_TOKENS = 77
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} {{ message['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)


def word_tokenizer(*further: str) -> PreTrainedTokenizerFast:
    """With T5's special tokens, and further ones."""
    vocabulary = {token: number for number, token in enumerate(("<pad>", "</s>", "<unk>"))}
    vocabulary |= {chr(code): code - 32 + len(vocabulary) for code in range(32, 127)}
    vocabulary |= {token: len(vocabulary) + number for number, token in enumerate(further)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=CLASS_TOKENS,
        additional_special_tokens=list(further),
    )


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """With a template for messages, and the tokens that stand for an image."""
    vision = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    tokenizer = word_tokenizer("<|im_start|>", "<|im_end|>", *vision)
    tokenizer.model_max_length = 4096
    tokenizer.chat_template = CHAT
    for name, token in zip(("image_token", "video_token"), vision, strict=False):
        setattr(tokenizer, name, token)
    return tokenizer
