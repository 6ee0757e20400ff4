"""The catalog of the models that a request may name, from all providers.

To add a provider, write a class with ``find`` and add it to the providers of ``ModelCatalog``. A task names the
provider as ``model_provider``; nothing else needs a change.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sd_api.errors import InvalidField, OutOfLimits, UnknownModel
from sd_api.models.sources import ModelSource, hub_model, parse_source
from sd_api.settings import ModelSettings, Settings

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
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._local = _ConfiguredModels(settings)
        self._providers: Mapping[str, ModelProvider] = {"huggingface": _HubModels(settings), "local": self._local}

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
            provider="huggingface",
            model_id=source.label,
            source=source,
            label=source.label,
            requires_safety_checker=self._settings.requires_safety_checker,
            settings=self._settings.model_settings,
        )

    def find(self, provider: str, model_id: str | None, *, from_here: bool = True) -> CatalogModel:
        """The model that a task names.

        Args:
            provider: ``huggingface`` or ``local``.
            model_id: the model's id there; None, the main model's own id and ``DOCUMENTED_DEFAULT`` are the main model.
            from_here: whether the task's client is on this computer; others need ``any_model`` or ``allowed_models``
                for a model that is not configured.

        Raises:
            InvalidField: there is no such provider.
            UnknownModel: there is no such model, or it is not allowed.
        """
        if provider not in self._providers:
            raise InvalidField("model_provider", f"is {provider[:40]!r}; valid are {', '.join(self._providers)}")
        if model_id is None or self._means_main(provider, model_id):
            return self.main
        found = self._providers[provider].find(model_id)
        listed = not is_unlisted(found.name or "") or model_id in self._settings.allowed_models
        if not (listed or from_here or self._settings.any_model):
            raise _not_allowed(model_id, self._settings)
        return found

    def _means_main(self, provider: str, model_id: str) -> bool:
        if provider == "local" and any(model.url_path == model_id for model in self._settings.custom_models):
            return False
        if model_id == self.main.model_id:
            return True
        return (provider, model_id) == (
            "huggingface",
            DOCUMENTED_DEFAULT,
        ) and model_id not in self._settings.allowed_models

    def named(self, name: str | None) -> CatalogModel:
        """The model with the name in ``JobSpec.model``.

        Raises:
            UnknownModel: there is no such model, or it is not allowed any more.
        """
        if name is None:
            return self.main
        provider, colon, model_id = name.partition(":")
        return self.find(provider, model_id) if colon else self._local.find(name)


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


class _ConfiguredModels:
    """The provider ``local``: the custom models of the configuration, by their ``url_path``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def find(self, model_id: str) -> CatalogModel:
        """See ModelProvider."""
        config = self._settings.custom_model(model_id)
        return CatalogModel(
            name=model_id,
            provider="local",
            model_id=model_id,
            source=parse_source(config.model_path),
            label=config.ui_label,
            requires_safety_checker=config.requires_safety_checker,
            settings=config,
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
            name=f"huggingface:{model_id}",
            provider="huggingface",
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
