"""The catalog of the models that a request may name, from all providers."""

from collections.abc import Mapping
from contextlib import suppress

from sd_api.errors import InvalidField, OutOfLimits, UnknownModel
from sd_api.models.folders import ModelFolders
from sd_api.models.on_disk import complete_models
from sd_api.models.providers import (
    HUB,
    LOCAL,
    CatalogModel,
    HubModels,
    LocalModels,
    ModelProvider,
    OfferedModel,
    not_allowed,
)
from sd_api.models.sources import parse_source
from sd_api.settings import Settings

# The default model of the task server's first version, whose clients always send it. It means the main model, unless
# the configuration allows it by name.
DOCUMENTED_DEFAULT = "CompVis/stable-diffusion-v1-4"


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
        self._local = LocalModels(settings, self.folders)
        self._providers: Mapping[str, ModelProvider] = {HUB: HubModels(settings), LOCAL: self._local}

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
            raise not_allowed(model_id, self._settings)
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
