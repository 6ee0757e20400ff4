"""The answers of ``POST /prompt``, for OpenAPI."""

from typing import Literal

from pydantic import BaseModel, Field

from sd_api.web.plugin.schemas import Success


class ReadToken(BaseModel):
    """One token of a prompt."""

    token: str = Field(
        description="as the model's tokenizer writes it; for a vector of a word that was trained, the word",
        examples=["dog</w>"],
    )
    weight: float = Field(description="how much it counts", examples=[1.1])
    vector: int | None = Field(
        default=None, description="the number of the vector, counted from 1, of a word that was trained", examples=[1]
    )


class ReadPiece(BaseModel):
    """A run of text with one weight, or a break between two chunks."""

    text: str | None = Field(default=None, description="the text; none for a break", examples=["a dog"])
    weight: float | None = Field(default=None, description="how much it counts; none for a break", examples=[1.1])
    break_: Literal[True] | None = Field(
        default=None, alias="break", description="that what follows begins a chunk", examples=[True]
    )


class ReadWords(BaseModel):
    """One of the prompts that AND joins."""

    pieces: list[ReadPiece] = Field(description="its text")
    chunks: list[list[ReadToken]] | None = Field(
        description="its tokens, as the text encoder reads them; null where the model's tokenizer is not on this "
        "machine, or reads text alone",
        examples=[[[{"token": "dog</w>", "weight": 1.1}]]],
    )


class ReadStage(BaseModel):
    """What acts in some steps."""

    first_step: int = Field(description="the step from which it acts, counted from 1", examples=[1])
    prompts: list[ReadWords] = Field(description="the prompts that AND joins")


class ReadLora(BaseModel):
    """A LoRA that a prompt names."""

    name: str = Field(description="its file's name without the suffix", examples=["sketch"])
    weight: float = Field(description="its factor in the denoiser", examples=[0.8])
    text_weight: float = Field(description="its factor in the text encoders", examples=[0.8])
    first_step: int = Field(description="the first step in which it acts, counted from 1; 0 if none", examples=[1])
    last_step: int = Field(description="the last step in which it acts; it may take turns", examples=[20])


class ReadPrompt(BaseModel):
    """What a prompt says."""

    text: str = Field(description="the prompt with the alternatives that the seed chose", examples=["a (red) dog"])
    weights: list[float] = Field(description="the factor of each prompt that AND joins", examples=[[1.0]])
    loras: list[ReadLora] = Field(description="the LoRAs that it names")
    stages: list[ReadStage] = Field(description="what acts, one entry for each change, until they have 1 MiB")
    stages_left_out: int = Field(description="how many changes follow that are not shown", examples=[0])


class OnePrompt(Success):
    """What the server understands of a form's prompts."""

    seed: int = Field(description="the seed that chose the alternatives", examples=[42])
    prompt: ReadPrompt = Field(description="what to draw")
    negative_prompt: ReadPrompt = Field(description="what to avoid")
