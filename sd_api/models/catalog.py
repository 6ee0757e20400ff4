"""The catalog of the models that a request may name, from all providers.

To add a provider, write a class with ``find`` and add it to the providers of ``ModelCatalog``. A task names the
provider as ``model_provider``; nothing else needs a change.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sd_api.errors import InvalidField, OutOfLimits, UnknownModel
from sd_api.models.folders import CHECKPOINT, FoundFile, ModelFolders, listed
from sd_api.models.on_disk import complete_models
from sd_api.models.sources import ModelSource, hub_model, parse_source
from sd_api.settings import CustomModel, ModelSettings, Settings

HUB = "huggingface"
"""The provider of the models on the Hugging Face hub."""

LOCAL = "local"
"""The provider of the models on this machine."""

# The default model of the task server's first version, whose clients always send it. It means the main model, unless
# the configuration allows it by name.
DOCUMENTED_DEFAULT = "CompVis/stable-diffusion-v1-4"


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


class ModelCatalog:
    """All models that the configuration allows.

    Args:
        settings: the configuration.

    Attributes:
        folders: The folders of models that it names.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.folders = ModelFolders.of(settings)
        self._local = _LocalModels(settings, self.folders)
        self._providers: Mapping[str, ModelProvider] = {HUB: _HubModels(settings), LOCAL: self._local}

    @property
    def main(self) -> CatalogModel:
        """The main model.

        Raises:
            ModelUnavailable: its folder or file does not exist.
        """
        source = parse_source(self._settings.model)
        return CatalogModel(
            name=None,
            # Also where its files are local: it is what a request means that names no provider, and this is the
            # default, which clients of the original take for the only one.
            provider=HUB,
            model_id=source.label,
            source=source,
            label=source.label,
            requires_safety_checker=self._settings.requires_safety_checker,
            settings=self._settings.model_settings,
        )

    @property
    def local(self) -> list[OfferedModel]:
        """The custom models, then those in the folders of models, as they are now."""
        return self._local.every()

    def downloaded(self, *, from_here: bool) -> list[OfferedModel]:
        """The further models of the hub that are complete on this machine and that a client may name.

        Args:
            from_here: see ``find``.
        """
        allowed = []
        for model_id in complete_models():
            with suppress(UnknownModel):
                found = self.find(HUB, model_id, from_here=from_here)
                if found.name is not None:
                    allowed.append(OfferedModel(found.name, model_id, found.label, found.requires_safety_checker))
        return allowed

    def at_path(self, url_path: str, *, from_here: bool) -> str | None:
        """The name, see ``CatalogModel``, of the model that a form is sent to.

        Args:
            url_path: the ``url_path`` of a custom model, or ``provider:id``.
            from_here: see ``find``.

        Raises:
            UnknownModel: there is no such model, or it is not allowed.
        """
        if url_path.startswith(f"{HUB}:"):
            return self.find(HUB, url_path.removeprefix(f"{HUB}:"), from_here=from_here).name
        return self.offered(url_path).name

    def offered(self, name: str) -> OfferedModel:
        """One of ``local``, by its name or its id.

        Raises:
            UnknownModel: there is none.
        """
        return self._local.offered(name.removeprefix(f"{LOCAL}:"))

    def find(self, provider: str, model_id: str | None, *, from_here: bool = True) -> CatalogModel:
        """The model that a task names.

        Args:
            provider: ``huggingface`` or ``local``.
            model_id: the model's id there; None, the main model's own id and ``DOCUMENTED_DEFAULT`` are the main model.
            from_here: whether the task's client is on this computer; others need ``any_model`` or ``allowed_models``
                for a model that is neither configured nor in the folders of models.

        Raises:
            InvalidField: there is no such provider.
            UnknownModel: there is no such model, or it is not allowed.
        """
        if provider not in self._providers:
            raise InvalidField("model_provider", f"is {provider[:40]!r}; valid are {', '.join(self._providers)}")
        if model_id is None or self._means_main(provider, model_id):
            return self.main
        found = self._providers[provider].find(model_id)
        known = provider == LOCAL or model_id in self._settings.allowed_models
        if not (known or from_here or self._settings.any_model):
            raise _not_allowed(model_id, self._settings)
        return found

    def _means_main(self, provider: str, model_id: str) -> bool:
        if provider == LOCAL and any(model.url_path == model_id for model in self._settings.custom_models):
            return False
        if model_id == self.main.model_id:
            return True
        return (provider, model_id) == (
            HUB,
            DOCUMENTED_DEFAULT,
        ) and model_id not in self._settings.allowed_models

    def named(self, name: str | None, *, from_here: bool = True) -> CatalogModel:
        """The model with the name in ``JobSpec.model``.

        Args:
            name: see ``CatalogModel``.
            from_here: see ``find``.

        Raises:
            UnknownModel: there is no such model, or it is not allowed any more.
        """
        if name is None:
            return self.main
        provider, colon, model_id = name.partition(":")
        return self.find(provider, model_id, from_here=from_here) if colon else self._local.find(name)


def is_unlisted(name: str) -> bool:
    """Whether a request's model is one that the configuration does not list."""
    return ":" in name


def refuse_unfiltered(label: str, wanted: bool | None, *, required: bool) -> None:
    """Refuse to do without a safety filter that a model requires.

    Args:
        label: the model's label.
        wanted: what the request says; None leaves it to the model.
        required: whether the model's pictures always pass the filter.

    Raises:
        OutOfLimits: the request switches off what the model requires.
    """
    if required and wanted is False:
        problem = f"cannot be switched off for {label}; its configuration says requires_safety_checker"
        raise OutOfLimits("safety_filter", problem)


class _LocalModels:
    """The provider ``local``: the custom models by their ``url_path``, and the checkpoints in the folders of models."""

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


class _HubModels:
    """The provider ``huggingface``: the models on the hub that the configuration allows, or any."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def find(self, model_id: str) -> CatalogModel:
        """See ModelProvider."""
        source = hub_model(model_id)
        if not (self._settings.allows_any_model or model_id in self._settings.allowed_models):
            raise _not_allowed(model_id, self._settings)
        return CatalogModel(
            name=f"{HUB}:{model_id}",
            provider=HUB,
            model_id=model_id,
            source=source,
            label=source.label,
            requires_safety_checker=self._settings.requires_safety_checker,
        )


def _not_allowed(model_id: str, settings: Settings) -> UnknownModel:
    allowed = ", ".join(settings.allowed_models) or "none but the main model"
    return UnknownModel(
        f"The model {model_id[:100]!r} may not be used here. Allowed are: {allowed}. "
        "allowed_models and any_model in the configuration allow more."
    )
