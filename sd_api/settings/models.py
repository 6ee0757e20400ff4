"""What can be configured of one model."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sd_api.settings.fields import (
    BaseSource,
    ClipSkip,
    Count,
    Guidance,
    Label,
    LocalPath,
    PartSource,
    SchedulerName,
    UrlPath,
)

MemoryMode = Literal["auto", "fast", "low"]
QuantizationWish = Literal["auto", "none", "fp8", "int8", "nf4"]
PlacementWish = Literal["auto", "resident", "by_stage", "grouped"]
AttentionWish = Literal[
    "auto",
    "native",
    "_native_math",
    "_native_flash",
    "_native_efficient",
    "_native_cudnn",
    "flash",
    "_flash_3",
    "sage",
    "xformers",
]


class Section(BaseModel):
    """What is part of the configuration: it never changes, and knows no other settings than its own."""

    # The input stays out of pydantic's own messages too, because it may be the token.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ModelSettings(Section):
    """How one model is loaded, and what its requests get that do not say."""

    base: BaseSource | None = Field(
        default=None,
        description="the model that has what a file of weights lacks: a Hugging Face id or a diffusers directory",
    )
    vae: PartSource | None = Field(
        default=None,
        description="the autoencoder in place of the model's own: a file, a directory with config.json, or a Hugging "
        "Face id",
    )
    text_encoders: tuple[PartSource, ...] = Field(
        default=(), description="files of text encoders in place of the model's own; their shapes say which is which"
    )
    prediction_type: Literal["epsilon", "v_prediction", "sample"] | None = Field(
        default=None, description="what the network predicts; by default, what the model's files say"
    )
    scheduler: SchedulerName | None = Field(
        default=None, description="the scheduler of requests that name none; by default the model's own"
    )
    steps: Count | None = Field(
        default=None, description="the steps of requests that do not say; by default what the model's publisher says"
    )
    guidance_scale: Guidance | None = Field(
        default=None, description="the guidance of requests that do not say, from 0 to 100"
    )
    clip_skip: ClipSkip | None = Field(
        default=None, description="the layer of the text encoder that is read, counted from its end, from 1 to 12"
    )
    dtype: Literal["fp32", "fp16", "bf16"] | None = Field(
        default=None, description="the precision of this model; by default that of all"
    )
    memory: MemoryMode | None = Field(default=None, description="as the setting of the same name, for this model")
    quantize: QuantizationWish | None = Field(
        default=None, description="as the setting of the same name, for this model"
    )
    placement: PlacementWish | None = Field(default=None, description="as the setting of the same name, for this model")
    attention: AttentionWish = Field(
        default="auto", description="the kernel that computes attention, by its name in diffusers"
    )


class CustomModel(ModelSettings):
    """One entry of ``custom_models``: a model of the user's own, served at ``/custom/<url_path>``."""

    model_path: LocalPath = Field(
        description="the model's diffusers directory (the one with model_index.json in it), "
        "or a .gguf, .sft, .safetensors or .ckpt file"
    )
    ui_label: Label = Field(description="the model's name as the plugin shows it")
    url_path: UrlPath = Field(description="the model's address: /custom/<url_path>, unique among all models")
    requires_safety_checker: bool = Field(
        default=True, description="whether this model's images always pass the safety checker"
    )
