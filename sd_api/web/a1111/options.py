"""The options of this dialect: what later requests do where they say nothing else. Each server process has its own."""

import json
import re
import threading
from collections.abc import Mapping
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sd_api.errors import InvalidField, InvalidFields, QuotaExceeded, RequestError, UnknownModel
from sd_api.generation.refusals import faults_in, wrong_type
from sd_api.models.catalog import ModelCatalog
from sd_api.models.folders import VAE, ModelFolders, listed
from sd_api.models.sources import parse_source
from sd_api.settings import Settings

_HASH = re.compile(r"\s*\[[0-9a-fA-F]{6,64}\]$")

# Characters of all options as JSON; programs keep a few hundred short ones.
MOST_CHARACTERS = 262_144

# How programs say that a model's own autoencoder is meant.
_OWN_VAE = ("automatic", "none")


class Checkpoints:
    """The models by the names that this dialect has for them.

    Args:
        settings: The configuration, which names the models and their folders.
    """

    def __init__(self, settings: Settings) -> None:
        main = parse_source(settings.model).label
        self.main = main
        self._catalog = ModelCatalog(settings)
        labels = {main: main, **{model.url_path: model.ui_label for model in settings.custom_models}}
        self._configured = {
            name.casefold(): title for title, label in reversed(labels.items()) for name in (label, title)
        }

    def entries(self) -> list[dict[str, Any]]:
        """Every model; the files have no hashes here."""
        labels = {self.main: self.main} | {model.model_id: model.label for model in self._catalog.local}
        return [
            {"title": title, "model_name": label, "hash": None, "sha256": None, "filename": title, "config": None}
            for title, label in labels.items()
        ]

    def title(self, name: str) -> str:
        """The title of a model by its title, its label or its file's name; case does not matter.

        Raises:
            UnknownModel: There is no such model.
        """
        # Other programs write a hash behind the name.
        wanted = _HASH.sub("", name.strip())
        title = self._configured.get(wanted.casefold())
        try:
            return self._catalog.offered(wanted).model_id if title is None else title
        except UnknownModel:
            titles = listed([entry["title"] for entry in self.entries()])
            raise UnknownModel(f"There is no model {name[:100]!r}; this server has {titles}.") from None

    def model(self, title: str) -> str | None:
        """See ``JobSpec.model``.

        Raises:
            UnknownModel: Its file has gone.
        """
        return None if title == self.main else self._catalog.offered(title).name


class A1111Options(BaseModel):
    """The options that act, and those that programs expect to find; all others are kept as they come."""

    model_config = ConfigDict(extra="allow", frozen=True)

    sd_model_checkpoint: str = Field(description="the model, a title of sd-models", examples=["builtin"])
    sd_checkpoint_hash: str = Field(default="", description="has no effect")
    CLIP_stop_at_last_layers: int = Field(default=1, ge=1, le=12, description="see clip_skip")
    sd_vae: str = Field(
        default="Automatic", description="see vae; Automatic and None are each model's own", examples=["Automatic"]
    )
    inpainting_mask_weight: float = Field(default=1.0, description="has no effect")
    img2img_color_correction: bool = Field(default=False, description="has no effect")
    face_restoration_model: str | None = Field(default=None, description="has no effect", examples=[None])
    samples_format: str = Field(default="png", description="has no effect")

    @property
    def fields(self) -> dict[str, Any]:
        """What requests get that do not say it, by the fields' names."""
        return {"clip_skip": self.CLIP_stop_at_last_layers, "vae": self.vae}

    @property
    def vae(self) -> str | None:
        """The autoencoder that requests get which name none; None is each model's own."""
        return None if self.sd_vae.casefold() in _OWN_VAE else self.sd_vae


class Options:
    """The options of one server process; may be used from any thread.

    Args:
        checkpoints: The models.
        folders: Where the autoencoders are.
    """

    def __init__(self, checkpoints: Checkpoints, folders: ModelFolders) -> None:
        self._checkpoints = checkpoints
        self._folders = folders
        self._lock = threading.Lock()
        self._current = A1111Options(sd_model_checkpoint=checkpoints.main)

    @property
    def current(self) -> A1111Options:
        """The options as they are now."""
        return self._current

    def change(self, changes: Mapping[str, Any]) -> None:
        """Change some options; none of them where one is refused. See ``with_changes``."""
        with self._lock:
            self._current = self.with_changes(changes)

    def with_changes(self, changes: Mapping[str, Any]) -> A1111Options:
        """The options as they would be with some changes; those with a meaning here stay where they come as null.

        Raises:
            InvalidFields: An option has a value that it cannot have.
            UnknownModel: There is no such model.
            QuotaExceeded: There would be too much to keep.
            RequestError: There is a number that JSON does not have.
        """
        own = A1111Options.model_fields
        given = {name: value for name, value in changes.items() if name not in own or value not in (None, "")}
        try:
            changed = A1111Options.model_validate({**self._current.model_dump(), **given})
            size = len(json.dumps(changed.model_dump(), allow_nan=False, default=_refuse))
        except ValidationError as error:
            raise InvalidFields(faults_in(error, wrong_type)) from None
        except ValueError:
            raise RequestError("An option has a number that JSON does not have; send no NaN and no Infinity.") from None
        if changed.vae is not None and self._folders.find(VAE, changed.vae) is None:
            known = ", ".join(["Automatic", "None", *(file.name for file in self._folders.files(VAE))])
            raise InvalidField("sd_vae", f"is {changed.sd_vae[:40]!r}; valid are {known}")
        if size > MOST_CHARACTERS:
            raise _too_long()
        return changed.model_copy(update={"sd_model_checkpoint": self._checkpoints.title(changed.sd_model_checkpoint)})


def _refuse(_long: Any) -> NoReturn:
    """The only values that are no JSON are long texts."""
    raise _too_long()


def _too_long() -> QuotaExceeded:
    return QuotaExceeded(f"The options would have more than {MOST_CHARACTERS} characters.")
