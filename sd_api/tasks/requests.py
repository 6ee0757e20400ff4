"""From a task's parameters to the job that a queue takes."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from sd_api.errors import InvalidField, InvalidFields, UnknownBlob, UnknownModel
from sd_api.generation.projection import faults_in
from sd_api.generation.seeds import choose_seed
from sd_api.generation.spec import JobSpec
from sd_api.models.catalog import CatalogModel, ModelCatalog
from sd_api.settings import Limits
from sd_api.storage.protocols import BlobStore
from sd_api.tasks.parameters import KINDS, TASKS, TaskParams, TaskReading, parse_parameters


class RequestMaker:
    """Knows which models there are, and where images are.

    Args:
        catalog: The models that a task may name.
        blobs: The images that it may name.
        limits: What may be asked for.
    """

    def __init__(self, catalog: ModelCatalog, blobs: BlobStore, limits: Limits) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._limits = limits

    def complete(self, owner: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Validate what a client sent, and choose what it left open: the model, and the seeds.

        Args:
            owner: Whose images may be named.
            fields: The parameters as they came.

        Returns:
            Every parameter, as plain JSON.

        Raises:
            pydantic.ValidationError: Naming every field that is not what it should be.
            InvalidFields: Fields do not fit each other.
        """
        reading = self._reading(owner)
        parameters = parse_parameters(fields, reading)
        model = _model(reading)
        chosen: dict[str, Any] = {"model_id": model.model_id, "model_provider": model.provider}
        for name, used in (("seed", True), ("variation_seed", _value(parameters, "variation_strength") > 0)):
            if used and _value(parameters, name) is None:
                chosen[name] = choose_seed()
        complete = parameters.model_copy(update=chosen)
        # Made once more when its turn comes; here it shows that it can be.
        _spec(complete, reading)
        return complete.model_dump(mode="json")

    def make(self, owner: str, parameters: Mapping[str, Any]) -> JobSpec:
        """The job for complete parameters.

        Raises:
            InvalidFields: Something is outside the limits by now, an image is not there any more, or the model may not
                be used any more; named as the task names it.
        """
        reading = self._reading(owner)
        try:
            return _spec(parse_parameters(parameters, reading), reading)
        except ValidationError as error:
            raise InvalidFields(faults_in(error, lambda details: f"is not valid: {details['msg']}")) from None

    def _reading(self, owner: str) -> TaskReading:
        def content(field: str, blob_id: str) -> bytes:
            try:
                return self._blobs.read(self._blobs.blob(owner, blob_id))
            except UnknownBlob as error:
                raise InvalidField(field, f"cannot be read: {error.message}") from None

        return TaskReading(limits=self._limits, content=content, find_model=self._find_model)

    def _find_model(self, provider: str, model_id: str | None) -> CatalogModel:
        try:
            return self._catalog.find(provider, model_id)
        except UnknownModel as error:
            raise InvalidField("model_id", f"is no model to be used: {error.message}") from None


def _spec(parameters: TaskParams, reading: TaskReading) -> JobSpec:
    return TASKS.spec(KINDS[parameters.task_type], parameters, reading, model=_model(reading).name)


def _model(reading: TaskReading) -> CatalogModel:
    assert reading.model is not None  # noqa: S101 - found by the validation that has passed
    return reading.model


def _value(parameters: TaskParams, canonical: str) -> Any:
    return getattr(parameters, TASKS.name(canonical))
