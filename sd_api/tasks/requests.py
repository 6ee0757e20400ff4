"""Turns a task's parameters into the spec of a job."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from pydantic import ValidationError

from sd_api.errors import InvalidField, InvalidFields, UnknownBlob, UnknownModel
from sd_api.generation.fields import derived
from sd_api.generation.refusals import faults_in
from sd_api.generation.seeds import choose_seed
from sd_api.generation.spec import JobSpec
from sd_api.generation.stored_files import StoredFile
from sd_api.models.catalog import ModelCatalog
from sd_api.models.folders import ModelFolders
from sd_api.models.providers import CatalogModel
from sd_api.settings import Limits
from sd_api.storage.protocols import BlobStore
from sd_api.tasks.parameters import KINDS, TASKS, TaskParams, TaskReading, parse_parameters

# The key under which a stored task has the fields that its client did not name; no client sees it.
LEFT_OPEN = "left_open"


class RequestMaker:
    """Validates parameters and makes job specs, with the models and images that tasks may name.

    Args:
        catalog: The models that a task may name.
        blobs: The images that it may name.
        limits: The limits of the fields.
    """

    def __init__(self, catalog: ModelCatalog, blobs: BlobStore, limits: Limits) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._limits = limits

    @property
    def folders(self) -> ModelFolders:
        """The folders of models that parameters may name files of."""
        return self._catalog.folders

    def complete(self, owner: str, fields: Mapping[str, Any], *, from_here: bool) -> dict[str, Any]:
        """Validate a client's parameters, and choose the model and the seeds that they leave open.

        Args:
            owner: The owner of the images that the parameters may name.
            fields: The raw parameters.
            from_here: Whether the client is on this computer.

        Returns:
            Every parameter, as plain JSON; ``LEFT_OPEN`` has the fields whose values are defaults.

        Raises:
            pydantic.ValidationError: Fields are missing or malformed; names all of them.
            InvalidFields: Fields do not fit each other.
        """
        reading = self._reading(owner, from_here=from_here)
        parameters = parse_parameters(fields, reading)
        model = _model(reading)
        chosen: dict[str, Any] = {"model_id": model.model_id, "model_provider": model.provider}
        for name, used in (("seed", True), ("variation_seed", _value(parameters, "variation_strength") > 0)):
            if used and _value(parameters, name) is None:
                chosen[name] = choose_seed()
        complete = parameters.model_copy(update=chosen)
        # Only checks that the spec can be made; it is made again when the task is sent to the job queue.
        spec = _spec(complete, reading)
        return {**complete.model_dump(mode="json"), LEFT_OPEN: list(spec.left_open)}

    def read(
        self, owner: str, fields: Mapping[str, Any], *, from_here: bool
    ) -> tuple[JobSpec, list[str], CatalogModel]:
        """The spec of the job for a client's parameters, as ``make`` returns it, and its model.

        Raises:
            pydantic.ValidationError: Fields are missing or malformed; names all of them.
            InvalidFields: Fields do not fit each other.
        """
        reading = self._reading(owner, from_here=from_here)
        parsed = parse_parameters(fields, reading)
        model = _model(reading)
        return _spec(parsed, reading), list(_warnings(parsed, model)), model

    def make(self, owner: str, parameters: Mapping[str, Any]) -> tuple[JobSpec, list[str]]:
        """The spec of the job for complete parameters.

        Returns:
            The spec, and what it does other than the parameters say, as sentences for the owner.

        Raises:
            InvalidFields: By now a field is outside the limits, an image is missing, or the model is not allowed; the
                error has the task dialect's names.
        """
        # Who may name which model was decided when the task was accepted.
        try:
            spec, warnings, _ = self.read(owner, shown_parameters(parameters), from_here=True)
        except ValidationError as error:
            raise InvalidFields(faults_in(error, lambda details: f"is not valid: {details['msg']}")) from None
        return derived(spec, JobSpec, left_open=tuple(parameters.get(LEFT_OPEN, ()))), warnings

    def _reading(self, owner: str, *, from_here: bool) -> TaskReading:
        def content(field: str, blob_id: str) -> StoredFile:
            def read() -> bytes:
                with _refused(field):
                    return self._blobs.read(blob)

            with _refused(field):
                blob = self._blobs.blob(owner, blob_id)
            return StoredFile(blob.size, read)

        return TaskReading(limits=self._limits, content=content, find_model=partial(self._find_model, from_here))

    def _find_model(self, from_here: bool, provider: str, model_id: str | None) -> CatalogModel:
        try:
            return self._catalog.find(provider, model_id, from_here=from_here)
        except UnknownModel as error:
            raise InvalidField("model_id", f"is no model to be used: {error.message}") from None


@contextmanager
def _refused(field: str) -> Iterator[None]:
    """Refuse the field that names an image which is not there."""
    try:
        yield
    except UnknownBlob as error:
        raise InvalidField(field, f"cannot be read: {error.message}") from None


def shown_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The stored parameters of a task as its owner knows them."""
    return {name: value for name, value in parameters.items() if name != LEFT_OPEN}


def used_parameters(parameters: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a task with what its model has chosen in place of the defaults.

    Args:
        parameters: As they are stored.
        chosen: See ``GenerationResult``.
    """
    return shown_parameters(parameters) | {TASKS.name(field): value for field, value in chosen.items()}


def _spec(parameters: TaskParams, reading: TaskReading) -> JobSpec:
    model = _model(reading)
    if model.requires_safety_checker:
        parameters = parameters.model_copy(update={TASKS.name("safety_filter"): True})
    return TASKS.spec(KINDS[parameters.task_type], parameters, reading, model=model.name)


def _warnings(parameters: TaskParams, model: CatalogModel) -> Iterator[str]:
    if model.requires_safety_checker and not _value(parameters, "safety_filter"):
        yield f"safety_filter: {model.label} may not be used without the filter, so the filter was applied."


def _model(reading: TaskReading) -> CatalogModel:
    assert reading.model is not None  # noqa: S101 - found by the validation that has passed
    return reading.model


def _value(parameters: TaskParams, canonical: str) -> Any:
    return getattr(parameters, TASKS.name(canonical))
