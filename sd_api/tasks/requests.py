"""From a task's parameters to the request that a queue takes."""

from typing import Any

from sd_api.errors import InvalidField, OutOfLimits, UnknownBlob, UnknownModel
from sd_api.generation.limits import check_num_outputs
from sd_api.generation.request import GenerationRequest
from sd_api.generation.seeds import choose_seed
from sd_api.imaging.decoding import read_image, read_mask
from sd_api.imaging.sizing import resize_mask
from sd_api.models.catalog import CatalogModel, ModelCatalog
from sd_api.settings import Limits
from sd_api.storage.protocols import BlobStore
from sd_api.tasks.parameters import InpaintParams, TaskParams, Txt2ImgParams

# How the engine calls what a task calls otherwise.
_WORDS = {
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "safety_checker": "safety_filter",
    "init_image": "initial_image",
}


class RequestMaker:
    """Knows which models there are, and where images are.

    Args:
        catalog: the models that a task may name.
        blobs: the images that it may name.
        limits: what may be asked for.
    """

    def __init__(self, catalog: ModelCatalog, blobs: BlobStore, limits: Limits) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._limits = limits

    def complete(self, parameters: TaskParams) -> TaskParams:
        """The parameters with what was left to the server: the model, and the seed.

        Raises:
            InvalidField: the model may not be used, or not like this.
        """
        model = self._model(parameters)
        if model.requires_safety_checker and not parameters.safety_filter:
            raise OutOfLimits("safety_filter", f"cannot be switched off for {model.label}")
        seed = choose_seed() if parameters.seed is None else parameters.seed
        return parameters.model_copy(
            update={"model_id": model.model_id, "model_provider": model.provider, "seed": seed}
        )

    def make(self, owner: str, parameters: TaskParams) -> GenerationRequest:
        """The request for complete parameters.

        Raises:
            InvalidField: something is outside the limits, an image is not there or is none, or the model may not
                be used any more; named as the task names it.
        """
        try:
            return self._make(owner, parameters)
        except InvalidField as error:
            raise type(error)(_WORDS.get(error.field, error.field), error.problem) from None

    def _make(self, owner: str, parameters: TaskParams) -> GenerationRequest:
        check_num_outputs(parameters.num_outputs, self._limits)
        assert parameters.seed is not None  # noqa: S101 - complete parameters have one
        common: dict[str, Any] = {
            "prompt": parameters.prompt,
            "negative_prompt": parameters.negative_prompt,
            "model": self._model(parameters).name,
            "seeds": tuple(parameters.seed + number for number in range(parameters.num_outputs)),
            "num_inference_steps": parameters.steps,
            "guidance_scale": parameters.guidance,
            "scheduler": parameters.scheduler,
            "safety_checker": parameters.safety_filter,
            "limits": self._limits,
        }
        if isinstance(parameters, Txt2ImgParams):
            return GenerationRequest(width=parameters.width, height=parameters.height, **common)
        pixels = self._limits.max_image_pixels
        content = self._content("initial_image", owner, parameters.initial_image)
        image = read_image("initial_image", content, max_pixels=pixels)
        mask = None
        if isinstance(parameters, InpaintParams):
            mask = read_mask("mask", self._content("mask", owner, parameters.mask), max_pixels=pixels)
            mask = resize_mask(mask, image.size)
        return GenerationRequest(
            width=image.width,
            height=image.height,
            init_image=image,
            mask_image=mask,
            strength=parameters.strength,
            **common,
        )

    def _model(self, parameters: TaskParams) -> CatalogModel:
        try:
            return self._catalog.find(parameters.model_provider, parameters.model_id)
        except UnknownModel as error:
            raise InvalidField("model_id", f"is no model to be used: {error.message}") from None

    def _content(self, field: str, owner: str, blob_id: str) -> bytes:
        try:
            return self._blobs.read(self._blobs.blob(owner, blob_id))
        except UnknownBlob as error:
            raise InvalidField(field, f"cannot be read: {error.message}") from None
