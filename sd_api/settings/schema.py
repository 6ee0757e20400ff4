"""What can be configured: every setting with its type, its default and its meaning."""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from sd_api.settings.fields import (
    Address,
    BlobsPlace,
    ByteCount,
    Count,
    Device,
    Folder,
    Host,
    HubId,
    ModelSource,
    Network,
    Origin,
    Port,
    RedisUrl,
    Secret,
    Size,
    Switch,
    Token,
    is_loopback,
)
from sd_api.settings.models import CustomModel, MemoryMode, ModelSettings, PlacementWish, QuantizationWish, Section

REPEATED_URL_PATH = "repeated_url_path"


class Limits(Section):
    """The most that one request may ask for, and how many may wait."""

    max_request_bytes: Count = Field(default=128 * 1024 * 1024, description="the size of one request's body, in bytes")
    max_image_pixels: Count = Field(
        default=200_000_000, description="width times height of an image that is sent, in pixels"
    )
    max_width: Count = Field(default=2048, description="the width of what a model draws at once, in pixels")
    max_height: Count = Field(default=2048, description="the height of what a model draws at once, in pixels")
    max_num_inference_steps: Count = Field(default=500, description="the steps of one request")
    max_num_outputs: Count = Field(default=16, description="the images of one request")
    max_prompt_length: Count = Field(default=4000, description="the length of a prompt, in characters")
    max_queued_requests: Count = Field(default=64, description="the requests that may wait for the model")
    max_queued_requests_per_client: Count = Field(
        default=16, description="the requests of one client that may wait for the model"
    )
    max_job_seconds: Count = Field(
        default=3600, description="how long one request may take, without waiting and loading, in seconds"
    )
    max_pending_tasks_per_user: Count = Field(
        default=1000, description="the tasks of one user, or of all public tokens of one address, that may wait"
    )
    max_pending_public_tasks: Count = Field(
        default=2000, description="the tasks of all public tokens together that may wait"
    )
    max_pending_tasks: Count = Field(default=10_000, description="the tasks of all users and tokens that may wait")
    max_blob_bytes_per_user: ByteCount = Field(
        default=2 * 1024**3,
        description="the size of all images kept for one user, or for all public tokens of one address, in bytes",
    )
    max_public_blob_bytes: ByteCount = Field(
        default=8 * 1024**3, description="the size of all images kept for all public tokens together, in bytes"
    )
    max_blob_bytes: ByteCount = Field(
        default=64 * 1024**3, description="the size of all images kept for all users and tokens, in bytes"
    )
    min_free_data_bytes: ByteCount = Field(
        default=32 * 1024**2,
        description="the bytes that new images and tasks leave free on the disk with the images, or a twentieth of the "
        "disk if that is less",
    )
    max_model_bytes: ByteCount = Field(
        default=64 * 1024 * 1024 * 1024, description="the size of a model that is downloaded from the hub, in bytes"
    )
    min_free_disk_bytes: ByteCount = Field(
        default=4 * 1024 * 1024 * 1024,
        description="the bytes that a download leaves free on its disk, or a twentieth of the disk if that is less",
    )
    max_days_kept: Count = Field(
        default=30, description="how long images and ended tasks are kept, and how long a token is valid, in days"
    )


class Cluster(Section):
    """The settings of a cluster: API processes and workers with the same Redis are one server."""

    redis_url: RedisUrl = Field(description="the Redis that all processes share, such as redis://:password@host:6379")
    blobs: BlobsPlace = Field(
        default="redis",
        description="where images are stored: redis, the absolute path of a folder that all API processes share, or a "
        "URL of fsspec, such as s3://bucket/folder",
    )
    worker_timeout: Count = Field(
        default=10, description="the lease of a worker in seconds: without a heartbeat for so long, its job is requeued"
    )
    tries: Count = Field(default=3, description="how many workers may die while they make a job before the job fails")


class Settings(Section):
    """The whole configuration, validated and immutable.

    Paths are absolute, but whether a model's files exist is not checked here. ``hf_token`` is
    ``None`` unless one was given; the hub library then uses the login stored on the machine, if any.
    Every setting's default and meaning is in ``Settings.model_json_schema()``.
    """

    hf_token: Token = Field(default=None, description="the Hugging Face access token; only gated models need one")
    custom_models: tuple[CustomModel, ...] = Field(
        default=(), description="your own models, as one flat array of objects: [ { … }, { … } ]"
    )
    model: ModelSource = Field(
        default="stable-diffusion-v1-5/stable-diffusion-v1-5",
        description="the main model: a Hugging Face id, a diffusers directory, or a .gguf, .sft, .safetensors or .ckpt "
        "file",
    )
    model_settings: ModelSettings = Field(
        default=ModelSettings(), description="how the main model is loaded, and what its requests get that do not say"
    )
    requires_safety_checker: bool = Field(
        default=True,
        description="whether the main model's images always pass the safety checker; "
        "if not, a request may switch it off",
    )
    host: Address = Field(
        default="127.0.0.1",
        description="where to listen: 127.0.0.1 for this computer alone, 0.0.0.0 for the whole network",
    )
    port: Port = Field(default=1337, description="the port to listen on; 0 for any free one")
    device: Device = Field(default="auto", description="what the models run on")
    dtype: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        default="auto", description="the precision of the weights and the arithmetic"
    )
    memory: MemoryMode = Field(
        default="auto",
        description="how a model uses the device's memory: auto keeps its weights as exact as the device allows, fast "
        "quantizes them rather than moving them, low leaves as much as possible to other programs",
    )
    quantize: QuantizationWish = Field(
        default="auto", description="how a model's weights are stored: none is as published; auto leaves it to memory"
    )
    placement: PlacementWish = Field(
        default="auto",
        description="where a model's parts are: resident on the device, moved there by_stage, or with their layers "
        "streamed there in groups (grouped); auto leaves it to memory",
    )
    compile: bool = Field(
        default=False,
        description="whether to compile models in the background, which makes pictures of compile_sizes faster",
    )
    compile_sizes: tuple[Size, ...] = Field(
        default=("512x512",), description="the sizes to compile for, as width x height in pixels, such as 512x768"
    )
    allowed_hosts: tuple[Host, ...] = Field(
        default=(), description="further names under which clients may call this server"
    )
    allowed_origins: tuple[Origin, ...] = Field(
        default=(), description="further web pages that may call this server, by their origin"
    )
    trusted_proxies: tuple[Network, ...] = Field(
        default=(),
        description="the addresses or networks of reverse proxies, whose X-Forwarded-For header names the client",
    )
    cancel_when_client_goes: bool = Field(
        default=True, description="whether a request is cancelled when its client closes the connection"
    )
    data: Folder | None = Field(
        default=None,
        description="the folder for users, tasks and images; without one, where the platform keeps a program's data",
    )
    secret_key: Secret = Field(
        default=None, description="the key that signs tokens; without one, the server makes its own and stores it"
    )
    enable_signup: Switch = Field(default=False, description="whether every caller may become a user")
    enable_public_token: Switch = Field(
        default=False, description="whether every caller may have a token without being a user"
    )
    require_token: bool = Field(default=False, description="whether the plugin's endpoints need a token, too")
    share_jobs: bool = Field(
        default=False,
        description="whether all callers see, fetch and cancel each other's jobs; tasks always belong to their owners",
    )
    any_model: bool | None = Field(
        default=None,
        description="whether tasks may name any model on the hub; by default only those of clients on this computer, "
        "of a server that listens on it alone and has no trusted_proxies",
    )
    allowed_models: tuple[HubId, ...] = Field(
        default=(), description="models on the hub that tasks may name besides the configured ones"
    )
    interrupted_tasks: Literal["rerun", "cancel"] = Field(
        default="rerun", description="whether a task that was running when the server ended is run again or cancelled"
    )
    original_events: bool = Field(
        default=False,
        description="whether the websocket sends an event as the original task server did: JSON text in a JSON string",
    )
    cluster: Cluster | None = Field(
        default=None, description="the settings of a cluster; without them, one process does everything"
    )
    loras: Folder | None = Field(
        default=None,
        description="the folder with the LoRAs, as .safetensors files, also in folders of their own; new ones are "
        "found without a restart",
    )
    embeddings: Folder | None = Field(
        default=None,
        description="the folder with the embeddings of textual inversion, as .safetensors, .pt or .bin files; new ones "
        "are found without a restart",
    )
    models_folder: Folder | None = Field(
        default=None,
        description="the folder with models in sub-folders by kind: checkpoints, loras, embeddings, vae, controlnet, "
        "ip-adapter; new files are found without a restart",
    )
    extra_model_paths: tuple[Folder, ...] = Field(
        default=(),
        description="further such folders, for example of AUTOMATIC1111's web UI or ComfyUI, whose sub-folders' names "
        "are understood; of two files with one name that of the earlier folder is used",
    )
    limits: Limits = Field(default=Limits(), description="the most that one request may ask for")

    @property
    def allows_any_model(self) -> bool:
        """Whether tasks may name any model on the hub; those of other computers need ``any_model`` itself."""
        if self.any_model is not None:
            return self.any_model
        # Behind a proxy on this computer, the server listens on loopback and still serves the network.
        return is_loopback(self.host) and not self.trusted_proxies

    @field_validator("custom_models")
    @classmethod
    def _url_paths_are_unique(cls, models: tuple[CustomModel, ...]) -> tuple[CustomModel, ...]:
        repeated = repeated_url_paths(model.url_path for model in models)
        if repeated:
            first, again = repeated[0]
            raise PydanticCustomError(
                REPEATED_URL_PATH,
                "custom_models[{first}] and [{again}] have the same url_path",
                {"first": first, "again": again},
            )
        return models


def repeated_url_paths(url_paths: Iterable[object]) -> list[tuple[int, int]]:
    """Find the models whose ``url_path`` an earlier model has.

    Args:
        url_paths: the ``url_path`` of each model, in order; values that are not strings are skipped.

    Returns:
        For each repeated value: the index of the first model with that value, and the index of the repetition.
    """
    owner: dict[str, int] = {}
    return [
        (owner[url_path], index)
        for index, url_path in enumerate(url_paths)
        if isinstance(url_path, str) and owner.setdefault(url_path, index) != index
    ]
