"""The answers of ``/models`` and ``/custom_models``, for OpenAPI."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from sd_api.generation.abilities import Guidance
from sd_api.generation.fields import Control
from sd_api.generation.operation import OperationName
from sd_api.settings import Limits
from sd_api.web.plugin.schemas import Success


class CustomModelEntry(BaseModel):
    """One entry of ``custom_models`` in the configuration."""

    model_path: str = Field(description="where its files are", examples=["/models/first"])
    ui_label: str = Field(description="its name for a person", examples=["My First Model"])
    url_path: str = Field(description="its address: /custom/<url_path>", examples=["my_first_model"])
    requires_safety_checker: bool = Field(
        description="whether its pictures always pass the safety filter", examples=[True]
    )


class OfferedModel(BaseModel):
    """A model, with its paths and capabilities."""

    label: str = Field(description="its name for a person", examples=["My First Model"])
    url_path: str | None = Field(description="null for the main model", examples=["my_first_model"])
    paths: dict[OperationName, str] = Field(
        description="the path to which to post each kind of form", examples=[{"txt2img": "/txt2img"}]
    )
    modes: list[OperationName] | None = Field(
        description="the operations that it supports; null until it is loaded",
        examples=[["txt2img", "img2img", "masking"]],
    )
    size_multiple: int | None = Field(
        description="other sizes are padded to its multiples; null until it is loaded", examples=[8]
    )
    native_size: int | None = Field(
        description="the side of the squares that it was trained with; null until it is loaded, or if it does not say",
        examples=[512],
    )
    capabilities: list[str] | None = Field(
        description="the values of requires whose fields have an effect; null until the model is loaded",
        examples=[["clip_skip"]],
    )
    schedulers: list[str] | None = Field(
        description="the schedulers that work with the model, empty if none may be named; null until it is loaded",
        examples=[["plms", "ddim"]],
    )
    guidance: Guidance | None = Field(
        description="what guidance means to the model: classifier-free is a factor between two predictions, which "
        "costs twice as much; distilled is an input that it was trained with; none has no effect; null until it is "
        "loaded",
        examples=["classifier-free"],
    )
    defaults: dict[str, int | float | str | None] | None = Field(
        description="what requests to this model get that name no value, by the names of the form's fields: what its "
        "publisher advises or the configuration says; null until it is loaded",
        examples=[{"num_inference_steps": 28, "guidance_scale": 3.5}],
    )
    requires_safety_checker: bool = Field(
        description="whether its pictures always pass the safety filter", examples=[True]
    )


class OfferedField(BaseModel):
    """A field of the forms; properties that it does not have are absent."""

    modes: list[OperationName] = Field(description="the forms that it belongs to", examples=[["txt2img"]])
    default: str | int | float | bool | list[Any] | None = Field(
        default=None, description="its value where nothing is sent", examples=[512]
    )
    minimum: float | None = Field(default=None, description="the smallest number", examples=[64])
    maximum: int | float | None = Field(default=None, description="the largest number", examples=[2048])
    max_length: int | None = Field(default=None, description="the most characters", examples=[4000])
    label: str | None = Field(default=None, description="its name for a person", examples=["Width"])
    description: str | None = Field(default=None, description="what it means", examples=["The width of the picture."])
    control: Control | None = Field(default=None, description="how a form shows it", examples=["number"])
    step: float | None = Field(default=None, description="the increment of a number's control", examples=[8])
    slider_maximum: float | None = Field(
        default=None, description="the upper end of a slider, below maximum", examples=[100]
    )
    unit: str | None = Field(default=None, description="the unit of a number", examples=["pixels"])
    choices: list[str] | None = Field(default=None, description="the valid texts", examples=[["plms", "ddim"]])
    choice_labels: dict[str, str] | None = Field(
        default=None, description="what a form calls each of them", examples=[{"ddim": "DDIM"}]
    )
    names: str | None = Field(
        default=None, description="the list of this answer that has the valid texts by their names", examples=["vaes"]
    )
    requires: str | None = Field(
        default=None, description="the capability that a model needs for it", examples=["clip_skip"]
    )
    acts_with: dict[str, list[str]] | None = Field(
        default=None,
        description="the values of which another field must have one for it to act",
        examples=[{"scheduler": ["ddim", "tcd"]}],
    )
    png_key: str | None = Field(
        default=None, description="its name in the parameters text of a picture", examples=["Steps"]
    )
    entries: dict[str, dict[str, Any]] | None = Field(
        default=None,
        description="the fields of each entry of a field that holds several, described likewise",
        examples=[{"weight": {"default": 1.0, "minimum": 0, "maximum": 2}}],
    )


class OfferedLora(BaseModel):
    """A LoRA that prompts may name."""

    name: str = Field(description="its name in prompts", examples=["sketch"])
    architecture: str | None = Field(
        description="what it was made for; null where its file does not say", examples=["Stable Diffusion 1"]
    )
    words: list[str] = Field(description="the words that it was trained to answer to", examples=[["pencil sketch"]])
    hint: dict[str, int | float | str] = Field(
        description="the fields that a LoRA for few steps needs; empty for others",
        examples=[{"num_inference_steps": 4, "guidance_scale": 1.0, "scheduler": "euler"}],
    )
    problem: str | None = Field(description="why its file cannot be used; null if it can", examples=[None])


class OfferedControl(BaseModel):
    """A ControlNet or a T2I adapter that controls may name."""

    name: str = Field(description="its name in controls", examples=["canny"])
    kind: str | None = Field(
        description="ControlNet, union ControlNet or T2I adapter; null where its file does not say before it is used",
        examples=["ControlNet"],
    )
    architecture: str | None = Field(
        description="what it was made for; null where its file does not say", examples=["Stable Diffusion 1"]
    )
    problem: str | None = Field(description="why it cannot be used; null if it can", examples=[None])


class OfferedAdapter(BaseModel):
    """An IP-Adapter by which references act."""

    name: str = Field(description="its name in references", examples=["ip-adapter_sd15"])
    architecture: str | None = Field(
        description="what it was made for; null where that is seen once it is used", examples=["Stable Diffusion 1"]
    )
    problem: str | None = Field(description="why its file cannot be used; null if it can", examples=[None])


class OpenAIEntry(BaseModel):
    """A model as OpenAI's API lists it."""

    id: str = Field(description="its url_path; the label of the main model", examples=["builtin"])
    object: Literal["model"] = Field(description="always model")
    created: int = Field(description="when the server started, in seconds since 1970", examples=[1767225600])
    owned_by: Literal["local"] = Field(description="always local")


class DownloadEntry(BaseModel):
    """How far a download is."""

    model_id: str = Field(
        description="the model's id on the hub", examples=["stable-diffusion-v1-5/stable-diffusion-v1-5"]
    )
    url_path: str = Field(
        description="by which requests name the model, as that of a custom one",
        examples=["huggingface:stable-diffusion-v1-5/stable-diffusion-v1-5"],
    )
    state: Literal["waiting", "downloading", "complete", "failed"] = Field(
        description="waiting for other downloads, downloading, and then complete or failed", examples=["downloading"]
    )
    bytes: int | None = Field(description="what has arrived; null before that is known", examples=[1200000000])
    total_bytes: int | None = Field(
        description="of all files that are needed; null before that is known", examples=[5000000000]
    )
    seconds_left: float | None = Field(
        description="by the speed of the last seconds; null where there is none", examples=[95.0]
    )
    message: str | None = Field(description="why it failed, and what to do", examples=[None])


class OneDownload(Success):
    """A download."""

    download: DownloadEntry = Field(description="the download")


class Downloads(Success):
    """Your downloads, the latest last."""

    downloads: list[DownloadEntry] = Field(
        description="those that wait, run or have ended; the latter until they are removed"
    )


class Offer(Success):
    """The models, schedulers, fields and limits."""

    models: list[OfferedModel] = Field(
        description="the main model first, then custom ones, those in the folders of models, and those of the hub that "
        "are complete on this server and that you may name"
    )
    schedulers: list[str] = Field(description="the names of all schedulers", examples=[["plms", "ddim"]])
    embeddings: list[str] = Field(
        description="the words of textual inversion that prompts may use", examples=[["dotty-style"]]
    )
    controlnets: list[OfferedControl] = Field(description="the ControlNets and T2I adapters of the folders of models")
    ip_adapters: list[OfferedAdapter] = Field(description="the IP-Adapters in the folders of models")
    loras: list[OfferedLora] = Field(description="the LoRAs of the configuration's folder")
    vaes: list[str] = Field(
        description="the autoencoders that may take the place of a model's own", examples=[["vae-ft-mse"]]
    )
    fields: dict[str, OfferedField] = Field(description="each field by its name in the forms")
    limits: Limits = Field(description="the limits of the configuration")
    object: Literal["list"] = Field(description="always list, for programs that expect OpenAI's API here")
    data: list[OpenAIEntry] = Field(description="the models as OpenAI's API lists them")
