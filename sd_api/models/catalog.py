"""The models that a request may name, from whichever provider.

To add a provider: write a class with ``find``, and add it to ``ModelCatalog``'s providers. A task
names it as ``model_provider``; nothing else need know of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sd_api.errors import InvalidField, UnknownModel
from sd_api.models.sources import HubModel, ModelSource, hub_model, parse_source
from sd_api.settings import Settings

# What the task server's first version had where no model was named. Its clients send it as a matter of course, so it
# means the main model, unless the configuration allows it by name.
DOCUMENTED_DEFAULT = "CompVis/stable-diffusion-v1-4"


@dataclass(frozen=True)
class CatalogModel:
    """A model that may be used.

    Attributes:
        name: what ``GenerationRequest.model`` says: None for the main model, the ``url_path`` of a custom one,
            ``provider:id`` for others; no ``url_path`` has a colon.
        provider: whose it is, as tasks name it.
        model_id: its name there.
        source: where its files are.
        label: its name for people.
        requires_safety_checker: whether its pictures always pass the safety checker.
    """

    name: str | None
    provider: str
    model_id: str
    source: ModelSource
    label: str
    requires_safety_checker: bool


class ModelProvider(Protocol):
    """Knows models by ids of its own."""

    def find(self, model_id: str) -> CatalogModel:
        """The model with an id that came from a client, which must not be taken for a path.

        Raises:
            UnknownModel: there is none, or it may not be used.
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
            ModelUnavailable: its folder or file is gone.
        """
        source = parse_source(self._settings.model)
        return CatalogModel(
            name=None,
            provider="huggingface" if isinstance(source, HubModel) else "local",
            model_id=source.label,
            source=source,
            label=source.label,
            requires_safety_checker=self._settings.requires_safety_checker,
        )

    def find(self, provider: str, model_id: str | None) -> CatalogModel:
        """The model that a task names.

        Args:
            provider: ``huggingface`` or ``local``.
            model_id: its name there; None is the main model, and so is ``DOCUMENTED_DEFAULT``.

        Raises:
            InvalidField: there is no such provider.
            UnknownModel: there is none, or it may not be used.
        """
        if provider not in self._providers:
            raise InvalidField("model_provider", f"is {provider[:40]!r}; valid are {', '.join(self._providers)}")
        main = self.main
        if model_id is None or (provider, model_id) == (main.provider, main.model_id):
            return main
        if (provider, model_id) == (
            "huggingface",
            DOCUMENTED_DEFAULT,
        ) and model_id not in self._settings.allowed_models:
            return main
        return self._providers[provider].find(model_id)

    def named(self, name: str | None) -> CatalogModel:
        """The model of a ``GenerationRequest``.

        Raises:
            UnknownModel: there is none, or it may not be used any more.
        """
        if name is None:
            return self.main
        provider, colon, model_id = name.partition(":")
        return self.find(provider, model_id) if colon else self._local.find(name)


def is_guest(name: str) -> bool:
    """Whether a model's name in a request is that of one which is not in the configuration."""
    return ":" in name


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
        )


class _HubModels:
    """The provider ``huggingface``: those that the configuration allows, or any."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def find(self, model_id: str) -> CatalogModel:
        """See ModelProvider."""
        source = hub_model(model_id)
        if not (self._settings.allows_any_model or model_id in self._settings.allowed_models):
            allowed = ", ".join(self._settings.allowed_models) or "none but the main model"
            raise UnknownModel(
                f"The model {model_id[:100]!r} may not be used here. Allowed are: {allowed}. "
                "allowed_models and any_model in the configuration allow more."
            )
        return CatalogModel(
            name=f"huggingface:{model_id}",
            provider="huggingface",
            model_id=model_id,
            source=source,
            label=source.label,
            requires_safety_checker=self._settings.requires_safety_checker,
        )
