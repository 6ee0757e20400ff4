"""The queries and answers of the plugin's endpoints, for OpenAPI."""

from typing import Literal

from pydantic import BaseModel, Field

from sd_api.generation.abilities import Guidance
from sd_api.generation.engine import Phase
from sd_api.generation.fields import Control
from sd_api.generation.operation import OperationName
from sd_api.jobs.job import State
from sd_api.settings import Limits
from sd_api.web.estimates import EstimateAnswer
from sd_api.web.placements import Placed


class FaultyField(BaseModel):
    """The fault of one field."""

    field: str = Field(description="its name in the form", examples=["prompt"])
    message: str = Field(description="what is wrong with it", examples=["prompt is missing"])


class Failure(BaseModel):
    """Every failure of these endpoints."""

    status: Literal["failure"] = Field(description="failure")
    message: str = Field(
        description="what happened and what to do, for the person who reads it", examples=["prompt is missing"]
    )
    errors: list[FaultyField] | None = Field(
        default=None,
        description="every faulty field, where the failure is about fields",
        examples=[[{"field": "prompt", "message": "prompt is missing"}]],
    )


class Success(BaseModel):
    """A successful answer."""

    status: Literal["success"] = Field(description="success")


class PluginImage(Placed):
    """One picture."""

    base64: str = Field(description="a PNG file, on one line", examples=["iVBORw0KGgo…"])
    seed: int = Field(description="the seed that reproduces this picture", examples=[42])
    variation_seed: int | None = Field(
        default=None, description="reproduces the variation, together with seed", examples=[7]
    )
    mimetype: Literal["image/png"] = Field(description="the media type of the file")
    mime_type: Literal["image/png"] = Field(description="the same; clients read either")
    nsfw: bool = Field(description="whether the safety filter flagged it; then it is black", examples=[False])


class Pictures(Success):
    """The pictures of one request."""

    images: list[PluginImage] = Field(description="the pictures, in the order of their seeds")
    warnings: list[str] | None = Field(
        default=None,
        description="what had to be done in a lesser way",
        examples=[["clip_skip has no effect with this model"]],
    )


class DocumentEntry(BaseModel):
    """A picture that is kept; times are in seconds since 1970."""

    id: str = Field(description="what to send in the place of an image", examples=["8c1f0c5e4b0c4c1c9a4e0c5d1a2b3c4d"])
    media_type: str = Field(description="its media type", examples=["image/png"])
    bytes: int = Field(description="the size of its file", examples=[14000000])
    created: float = Field(description="when it was sent", examples=[1767225600.0])
    expires: float = Field(description="when it is deleted", examples=[1769817600.0])
    width: int | None = Field(default=None, description="pixels; when it is sent", examples=[4000])
    height: int | None = Field(default=None, description="pixels; when it is sent", examples=[3000])


class OneDocument(Success):
    """A document."""

    document: DocumentEntry = Field(description="the document")


class OneEstimate(Success):
    """What a form would take."""

    estimate: EstimateAnswer = Field(description="regions, steps, time and memory")


class ReadToken(BaseModel):
    """One token of a prompt."""

    token: str = Field(description="as the model's tokenizer writes it", examples=["dog</w>"])
    weight: float = Field(description="how much it counts", examples=[1.1])


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


class ReadPrompt(BaseModel):
    """What a prompt says."""

    text: str = Field(description="the prompt with the alternatives that the seed chose", examples=["a (red) dog"])
    weights: list[float] = Field(description="the factor of each prompt that AND joins", examples=[[1.0]])
    loras: list[ReadLora] = Field(description="the LoRAs that it names")
    stages: list[ReadStage] = Field(description="what acts, one entry for each change")


class OnePrompt(Success):
    """What the server understands of a form's prompts."""

    seed: int = Field(description="the seed that chose the alternatives", examples=[42])
    prompt: ReadPrompt = Field(description="what to draw")
    negative_prompt: ReadPrompt = Field(description="what to stay away from")


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
    default: str | int | float | bool | None = Field(
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
    requires: str | None = Field(
        default=None, description="the capability that a model needs for it", examples=["clip_skip"]
    )
    acts_with: dict[str, str] | None = Field(
        default=None,
        description="the value that another field must have for it to act",
        examples=[{"scheduler": "ddim"}],
    )
    png_key: str | None = Field(
        default=None, description="its name in the parameters text of a picture", examples=["Steps"]
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


class OpenAIEntry(BaseModel):
    """A model as OpenAI's API lists it."""

    id: str = Field(description="its url_path; the label of the main model", examples=["builtin"])
    object: Literal["model"] = Field(description="always model")
    created: int = Field(description="when the server started, in seconds since 1970", examples=[1767225600])
    owned_by: Literal["local"] = Field(description="always local")


class Offer(Success):
    """The models, schedulers, fields and limits."""

    models: list[OfferedModel] = Field(description="the main model first")
    schedulers: list[str] = Field(description="the names of all schedulers", examples=[["plms", "ddim"]])
    embeddings: list[str] = Field(
        description="the words of textual inversion that prompts may use", examples=[["dotty-style"]]
    )
    loras: list[OfferedLora] = Field(description="the LoRAs of the configuration's folder")
    fields: dict[str, OfferedField] = Field(description="each field by its name in the forms")
    limits: Limits = Field(description="the limits of the configuration")
    object: Literal["list"] = Field(description="always list, for programs that expect OpenAI's API here")
    data: list[OpenAIEntry] = Field(description="the models as OpenAI's API lists them")


class AccessQuery(BaseModel):
    """The address and the web page to check."""

    address: str = Field(
        min_length=1,
        description="as a client would write it, like http://my-pc:1337",
        examples=["http://127.0.0.1:1337"],
    )
    origin: str = Field(
        description="the origin of a web page, like https://studio.example", examples=["https://studio.example"]
    )


class Access(Success):
    """The access rules."""

    listens_on: str = Field(description="the address that the server listens on", examples=["127.0.0.1"])
    port: int = Field(description="its port", examples=[1337])
    allowed_hosts: list[str] = Field(
        description="the names of the configuration by which it may be called", examples=[["my-pc"]]
    )
    allowed_origins: list[str] = Field(
        description="the web pages of the configuration that may call it", examples=[["https://studio.example"]]
    )
    require_token: bool = Field(
        description="whether the plugin's endpoints need a token; this one never does", examples=[False]
    )
    share_jobs: bool = Field(
        description="whether all callers see, fetch and cancel each other's jobs", examples=[False]
    )
    enable_signup: bool = Field(description="whether signing up is open to every caller", examples=[False])
    enable_public_token: bool = Field(
        description="whether every caller may have a token without signing up", examples=[False]
    )
    refusal: str | None = Field(
        default=None,
        description="the error message for a request with that address and origin; null if it is allowed",
        examples=[None],
    )


class JobQuery(BaseModel):
    """What of a job is asked for."""

    preview: bool = Field(
        default=False, description="whether to add a preview of its first picture while it runs", examples=[True]
    )


class JobProgress(BaseModel):
    """The progress of a job."""

    phase: Phase = Field(description="what is done now")
    step: int = Field(description="the steps of all its pictures that are done", examples=[5])
    steps: int = Field(description="the steps of all its pictures; 0 while unknown", examples=[20])
    bytes: int | None = Field(
        default=None, description="while downloading: the bytes of the model that have arrived", examples=[1000000]
    )
    total_bytes: int | None = Field(
        default=None, description="while downloading: the bytes of the model in all", examples=[5000000000]
    )


class JobEntry(BaseModel):
    """One job; times are in seconds since 1970."""

    id: str = Field(description="its id", examples=["my-first-picture"])
    dialect: Literal["plugin", "tasks", "openai", "a1111"] = Field(description="in which it was asked for")
    mode: OperationName = Field(description="its operation")
    model: str | None = Field(description="the url_path of a custom model; null for the main model", examples=[None])
    state: State = Field(description="its state")
    created: float = Field(description="when it came", examples=[1767225600.0])
    started: float | None = Field(description="when it was begun", examples=[1767225601.0])
    ended: float | None = Field(description="when it ended", examples=[None])
    progress: JobProgress | None = Field(description="how far it is; null before it runs")
    message: str | None = Field(description="why it failed or was cancelled", examples=[None])
    preview: str | None = Field(description="a small PNG in base64, if it was asked for", examples=[None])
    position: int | None = Field(description="its position in the queue, from 1", examples=[1])
    seconds_left: float | None = Field(
        description="how long it will take yet, in seconds; null while unknown", examples=[2.5]
    )


class OneJob(Success):
    """A job, or null."""

    job: JobEntry | None = Field(description="the job; null if none is running")


class Jobs(Success):
    """Your running jobs, then your waiting ones in queue order."""

    jobs: list[JobEntry] = Field(description="the jobs")
    others: int = Field(description="how many jobs of others run or wait", examples=[0])


class LoadedModelEntry(BaseModel):
    """A model that is loaded."""

    model: str = Field(description="its name", examples=["builtin"])
    bytes: int = Field(description="the size of its weights", examples=[6000000])
    on_device: bool = Field(
        description="whether it is on the device, rather than in the host's memory", examples=[True]
    )
    load_seconds: float = Field(description="how long loading took, its download included", examples=[0.4])
    plan: str = Field(
        description="how it runs: its precision, how its weights are stored, where its parts are",
        examples=["fp16, weights as published, all parts on the device"],
    )
    reasons: list[str] = Field(description="why it runs so", examples=[["fp16 is this device's precision"]])
    peak: int | None = Field(
        description="the most bytes of the device's memory that one picture of its native size takes, about; null if "
        "that is not known",
        examples=[3600000000],
    )


class MemoryEntry(BaseModel):
    """The memory of a device, in bytes."""

    total: int = Field(description="all of it", examples=[24000000000])
    free: int = Field(description="what is free", examples=[20000000000])


class WorkerEntry(BaseModel):
    """A process with an engine."""

    id: str = Field(description="its id", examples=["my-pc-1234"])
    host: str = Field(description="the name of its machine", examples=["my-pc"])
    version: str = Field(
        description="its version; a worker takes only jobs of servers of the same version", examples=["0.1.0"]
    )
    started: float = Field(description="seconds since 1970", examples=[1767225600.0])
    state: Literal["loading", "ready", "failed"] = Field(description="its state")
    message: str | None = Field(description="why it failed, and what to do", examples=[None])
    device: str | None = Field(description="its device; null until it is known", examples=["cuda:0"])
    dtype: str | None = Field(description="its precision; null until it is known", examples=["fp16"])
    memory: MemoryEntry | None = Field(description="null if the device shares the host's memory")
    models: list[LoadedModelEntry] = Field(description="the models that it has loaded")
    busy: bool = Field(description="whether it works on jobs, those of others included", examples=[True])
    jobs: list[str] = Field(description="your jobs that it works on", examples=[["my-first-picture"]])


class Workers(Success):
    """The workers, the oldest first."""

    workers: list[WorkerEntry] = Field(description="the workers")


class FailedJob(BaseModel):
    """A job that failed; the time is in seconds since 1970."""

    time: float = Field(description="when it failed", examples=[1767225600.0])
    job_id: str = Field(description="its id", examples=["my-first-picture"])
    mode: OperationName = Field(description="its operation")
    model: str | None = Field(description="the url_path of a custom model; null for the main model", examples=[None])
    message: str = Field(description="why it failed, and what to do", examples=["The device is out of memory."])


class RefusedCallerEntry(BaseModel):
    """A caller that was refused by its Host or Origin; the time is in seconds since 1970."""

    header: Literal["Host", "Origin"] = Field(description="the header by which it was refused")
    value: str = Field(description="what that header said", examples=["https://studio.example"])
    count: int = Field(description="how often it was refused", examples=[3])
    time: float = Field(description="when it was refused last", examples=[1767225600.0])
    setting: str | None = Field(
        description="the line of the configuration that would let it in; null if no line can, because it is no name",
        examples=['"allowed_origins": ["https://studio.example"]'],
    )


class Health(BaseModel):
    """The state of the engine, its device and models, your last failures, and who was refused."""

    status: Literal["loading", "ready", "failed"] = Field(description="the state of the engine")
    model: str = Field(description="the main model", examples=["stable-diffusion-v1-5/stable-diffusion-v1-5"])
    device: str | None = Field(description="the device; null until it is known", examples=["cuda:0"])
    dtype: str | None = Field(description="the precision; null until it is known", examples=["fp16"])
    models: list[LoadedModelEntry] = Field(description="the models that are loaded")
    versions: dict[str, str] = Field(
        description="the versions of the server and of what it runs on",
        examples=[{"server": "0.1.0", "python": "3.12.1"}],
    )
    failures: list[FailedJob] = Field(description="your last jobs that failed, the latest first")
    refused_callers: list[RefusedCallerEntry] = Field(
        description="whom this process refused in the last hour, the latest first"
    )
    message: str | None = Field(
        default=None, description="why it failed, and what to do", examples=["The hub cannot be reached."]
    )
