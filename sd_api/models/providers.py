"""The providers of models: what a request names becomes a model with its source.

To add one, write a class with ``find`` and add it to the providers of ``ModelCatalog``. A task names it as
``model_provider``; nothing else needs a change.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sd_api.errors import UnknownModel
from sd_api.models.folders import CHECKPOINT, FoundFile, ModelFolders, listed
from sd_api.models.sources import ModelSource, hub_model, parse_source
from sd_api.settings import CustomModel, ModelSettings, Settings

HUB = "huggingface"
"""The provider of the models on the Hugging Face hub."""

LOCAL = "local"
"""The provider of the models on this machine."""


@dataclass(frozen=True)
class CatalogModel:
    """A model that a request may use.

    Attributes:
        name: the value of ``JobSpec.model``: None for the main model, the ``url_path`` of a custom one,
            ``provider:id`` for others; no ``url_path`` has a colon.
        provider: the provider's name, as in tasks.
        model_id: the model's id at its provider.
        source: the location of its files.
        label: the name that people see.
        requires_safety_checker: whether its pictures always pass the safety checker.
        settings: what the configuration says of it.
    """

    name: str | None
    provider: str
    model_id: str
    source: ModelSource
    label: str
    requires_safety_checker: bool
    settings: ModelSettings = field(default_factory=ModelSettings)


@dataclass(frozen=True)
class OfferedModel:
    """A model on this machine as requests may choose it; where its files are matters to who loads it.

    Attributes:
        name: see ``CatalogModel``.
        model_id: its ``url_path``, or its name in the folders of models.
        label: see ``CatalogModel``.
        requires_safety_checker: see ``CatalogModel``.
    """

    name: str
    model_id: str
    label: str
    requires_safety_checker: bool


class ModelProvider(Protocol):
    """Finds models by their ids at a provider."""

    def find(self, model_id: str) -> CatalogModel:
        """Find a model by an id from a client, which is never taken for a path.

        Raises:
            UnknownModel: there is no such model, or it is not allowed.
        """


class LocalModels:
    """The provider ``local``: the custom models by their ``url_path``, and the checkpoints in the folders of models.

    Args:
        settings: the configuration.
        folders: the folders of models that it names.
    """

    def __init__(self, settings: Settings, folders: ModelFolders) -> None:
        self._settings = settings
        self._folders = folders
        self._custom = {model.url_path: model for model in settings.custom_models}
        paths = [str(settings.model), *(str(model.model_path) for model in settings.custom_models)]
        # What the configuration has by another name.
        self._known = {os.path.realpath(os.path.expanduser(path)) for path in paths}

    def every(self) -> list[OfferedModel]:
        """See ``ModelCatalog.local``."""
        files = [file for file in self._folders.files(CHECKPOINT) if self._is_further(file)]
        return [*map(_offer, self._custom.values()), *map(self._in_folder, files)]

    def offered(self, model_id: str) -> OfferedModel:
        """See ``ModelCatalog.offered``."""
        if model_id in self._custom:
            return _offer(self._custom[model_id])
        return self._in_folder(self._file(model_id))

    def find(self, model_id: str) -> CatalogModel:
        """See ModelProvider."""
        if (config := self._custom.get(model_id)) is not None:
            return _found(_offer(config), config.model_path, config)
        file = self._file(model_id)
        return _found(self._in_folder(file), file.path, ModelSettings())

    def _file(self, model_id: str) -> FoundFile:
        file = self._folders.find(CHECKPOINT, model_id)
        if file is None or not self._is_further(file):
            names = listed([model.model_id for model in self.every()])
            raise UnknownModel(f"There is no custom model {model_id[:100]!r}. This server has: {names}.")
        return file

    def _is_further(self, file: FoundFile) -> bool:
        return os.path.realpath(file.path) not in self._known

    def _in_folder(self, file: FoundFile) -> OfferedModel:
        return OfferedModel(f"{LOCAL}:{file.name}", file.name, file.name, self._settings.requires_safety_checker)


def _offer(config: CustomModel) -> OfferedModel:
    return OfferedModel(config.url_path, config.url_path, config.ui_label, config.requires_safety_checker)


def _found(offer: OfferedModel, path: str | Path, settings: ModelSettings) -> CatalogModel:
    return CatalogModel(
        name=offer.name,
        provider=LOCAL,
        model_id=offer.model_id,
        source=parse_source(path),
        label=offer.label,
        requires_safety_checker=offer.requires_safety_checker,
        settings=settings,
    )


class HubModels:
    """The provider ``huggingface``: the models on the hub that the configuration allows, or any.

    Args:
        settings: the configuration.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def find(self, model_id: str) -> CatalogModel:
        """See ModelProvider."""
        source = hub_model(model_id)
        if not (self._settings.allows_any_model or model_id in self._settings.allowed_models):
            raise not_allowed(model_id, self._settings)
        return CatalogModel(
            name=f"{HUB}:{model_id}",
            provider=HUB,
            model_id=model_id,
            source=source,
            label=source.label,
            requires_safety_checker=self._settings.requires_safety_checker,
        )


def not_allowed(model_id: str, settings: Settings) -> UnknownModel:
    """The refusal of a model of the hub that the configuration does not allow this client."""
    allowed = ", ".join(settings.allowed_models) or "none but the main model"
    return UnknownModel(
        f"The model {model_id[:100]!r} may not be used here. Allowed are: {allowed}. "
        "allowed_models and any_model in the configuration allow more."
    )
