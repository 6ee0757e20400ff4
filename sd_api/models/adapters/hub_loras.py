"""LoRAs in repositories of the Hugging Face hub, where the configuration allows them: ``owner/name``, or a file of it.

They are downloaded into the hub's cache once, and are files like others from then on.
"""

from collections.abc import Collection
from pathlib import Path

from huggingface_hub import HfApi, try_to_load_from_cache

from sd_api.errors import ModelUnavailable
from sd_api.generation.operation import Operation
from sd_api.models.adapters.lora_files import find_lora
from sd_api.models.download_limits import check_disk, check_size
from sd_api.models.folders import LORA, FoundFile, ModelFolders, listed
from sd_api.models.hub import conversation, fetch_named, files_in_cache, listed_in_cache, sizes_on_hub, token_of
from sd_api.models.hub_faults import without_hints
from sd_api.models.sources import is_repo_id
from sd_api.settings import Settings

# What diffusers calls the file of a LoRA that it writes.
_USUAL = "pytorch_lora_weights.safetensors"


class HubLoras:
    """The LoRAs of the hub that requests may name.

    Args:
        settings: The configuration, with what is allowed, the token and the limits of downloads.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def find(self, name: str) -> FoundFile | None:
        """The LoRA of a name, downloaded unless it is in the cache; None where no repository can be meant.

        Raises:
            ModelUnavailable: It may not be used here, is not on the hub, or cannot be downloaded; the message has the
                reason.
        """
        repo_id, file = _parted(name)
        if not is_repo_id(repo_id):
            return None
        if not (self._settings.any_model or repo_id in self._settings.allowed_models):
            raise ModelUnavailable(
                f"{repo_id} of the hub may not be used: allowed_models in the configuration does not name it, and "
                "any_model is not true"
            )
        if (found := cached_lora(name)) is not None:
            return found
        try:
            return _found(name, self._fetch(repo_id, file))
        except ModelUnavailable as error:
            raise ModelUnavailable(without_hints(error.message).rstrip(".")) from None

    def _fetch(self, repo_id: str, file: str) -> Path:
        token, limits = token_of(self._settings), self._settings.limits
        with conversation(repo_id, token):
            sizes = sizes_on_hub(HfApi(token=token), repo_id)
            if (chosen := _chosen(sizes, file)) is None:
                there = listed(sorted(name for name in sizes if name.endswith(LORA.suffixes)))
                wanted = f"has no file {file}" if file else "does not have exactly one LoRA; name a file behind its id"
                raise ModelUnavailable(f"{repo_id} {wanted}. Its .safetensors files: {there}.")
            check_size(repo_id, sizes[chosen], limits)
            check_disk(repo_id, sizes[chosen], limits)
            return fetch_named(repo_id, [chosen], token, limits) / chosen


def cached_lora(name: str) -> FoundFile | None:
    """The LoRA of a name as far as it is in the hub's cache, without network."""
    repo_id, file = _parted(name)
    if not is_repo_id(repo_id):
        return None
    names = listed_in_cache(repo_id)
    if names is None:
        # What other programs have downloaded: of a repository that has more, it may not be what an id alone means.
        names = [each for each in files_in_cache(repo_id) if file or each == _USUAL]
    chosen = _chosen(names, file)
    place = None if chosen is None else try_to_load_from_cache(repo_id, chosen)
    return _found(name, Path(place)) if isinstance(place, str) else None


def loras_here(folders: ModelFolders, operation: Operation) -> dict[str, FoundFile]:
    """The LoRAs that an operation names, by their names, as far as they are on this machine."""
    names = dict.fromkeys(lora.name for several in operation.asked_loras.values() for lora in several)
    return {name: file for name in names if (file := find_lora(folders, name) or cached_lora(name)) is not None}


def _parted(name: str) -> tuple[str, str]:
    """The id of a repository, and the path of a file in it; empty where none is named."""
    owner, _, rest = name.partition("/")
    repository, _, file = rest.partition("/")
    return f"{owner}/{repository}", file


def _chosen(names: Collection[str], file: str) -> str | None:
    """The file among those of a repository that is meant; None where that is not clear."""
    several = [name for name in names if name.endswith(LORA.suffixes)]
    if file:
        return next((name for name in several if name in (file, *(file + suffix for suffix in LORA.suffixes))), None)
    return several[0] if len(several) == 1 else next((name for name in several if name == _USUAL), None)


def _found(name: str, path: Path) -> FoundFile:
    state = path.stat()
    return FoundFile(name, path, state.st_mtime_ns, state.st_size)
