"""Parts of models on the Hugging Face hub, such as an autoencoder: alone, within a whole model, or as one file."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache

from sd_api.errors import ModelUnavailable
from sd_api.models.allowed_classes import why_refused
from sd_api.models.bounded_files import FileFaultError, read_object
from sd_api.models.download_limits import check_disk, check_size
from sd_api.models.folders import listed
from sd_api.models.hub import conversation, fetch_named, listed_in_cache, sizes_on_hub
from sd_api.models.pipeline_files import weight_files
from sd_api.models.sources import FILE_SUFFIXES, MODEL_INDEX, PART_CONFIG
from sd_api.settings import Limits


@dataclass(frozen=True)
class PartFiles:
    """The files of a part in a repository.

    Attributes:
        names: Those that are needed, with slashes.
        place: The folder of the part, or its one file; empty where the part is at the top.
    """

    names: tuple[str, ...]
    place: str

    @property
    def config(self) -> str | None:
        """The name of its configuration; None where it is one file."""
        return next((name for name in self.names if name.endswith(PART_CONFIG)), None)


def cached_part(repo_id: str, part: str, *, half: bool) -> Path | None:
    """The folder or the file in the cache with one part of a model, without network; None if it is not complete there.

    Args:
        repo_id: the repository.
        part: what the part is called in whole models, such as ``vae``.
        half: whether weights in half precision suffice.
    """
    names = list(_cached_names(repo_id, part))
    for precision in (False, True) if half else (False,):
        found = _find(names, part, half=precision)
        places = [try_to_load_from_cache(repo_id, name) for name in found.names] if found else []
        if found and all(isinstance(place, str) for place in places):
            top = Path(str(places[0])).parents[found.names[0].count("/")]
            return top / found.place
    return None


def fetch_part(repo_id: str, part: str, token: str | None, limits: Limits, *, half: bool) -> Path:
    """Download one part of a model, unless it is there.

    Args:
        repo_id: See ``cached_part``.
        part: See there.
        token: for gated and private repositories.
        limits: the largest model, and the room that is left on the disk.
        half: whether to prefer weights in half precision.

    Returns:
        The folder with its ``config.json``, or its one file.

    Raises:
        ModelUnavailable: the message has the reason, and what to do.
    """
    if (place := cached_part(repo_id, part, half=half)) is not None:
        return place
    with conversation(repo_id, token):
        found, _ = _ask(repo_id, part, token, limits, half=half)
        return fetch_named(repo_id, found.names, token, limits) / found.place


def check_part(repo_id: str, part: str, token: str | None, limits: Limits, *, half: bool) -> int:
    """Check on the hub what ``fetch_part`` would refuse, without downloading weights.

    Returns:
        The bytes that are to be downloaded, as far as the hub states them.

    Raises:
        ModelUnavailable: as ``fetch_part``.
    """
    with conversation(repo_id, token):
        return _ask(repo_id, part, token, limits, half=half)[1]


def _ask(repo_id: str, part: str, token: str | None, limits: Limits, *, half: bool) -> tuple[PartFiles, int]:
    api = HfApi(token=token)
    sizes = sizes_on_hub(api, repo_id)
    if (found := _find(sizes, part, half=half)) is None:
        files = [name for name in sizes if name.endswith(FILE_SUFFIXES)]
        raise ModelUnavailable(
            f"{repo_id} holds no {part} by itself: neither {PART_CONFIG} with weights, at its top or in {part}/, nor "
            f"one single file. Its files with weights: {listed(sorted(files))}. Download the one that is wanted, and "
            "give its path."
        )
    api.auth_check(repo_id)
    if found.config is not None and (reason := _why_refused(hf_hub_download(repo_id, found.config, token=token))):
        raise ModelUnavailable(f"{repo_id} {reason}.")
    size = sum(sizes[name] for name in found.names)
    check_size(repo_id, size, limits)
    check_disk(repo_id, size, limits)
    return found, size


def _why_refused(config: str) -> str | None:
    try:
        content = read_object(Path(config))
    except FileFaultError as fault:
        raise ModelUnavailable(f"{fault}.") from None
    # transformers names a class by the architectures, which the part's own loading looks at.
    return why_refused("diffusers", str(content["_class_name"])) if "_class_name" in content else None


def _find(names: Collection[str], part: str, *, half: bool) -> PartFiles | None:
    """The files of a part among those of a repository."""
    folders = (f"{part}/",) if MODEL_INDEX in names else ("", f"{part}/")
    for folder in folders:
        inside = [name.removeprefix(folder) for name in names if name.startswith(folder)]
        weights = weight_files(inside, half=half)
        if PART_CONFIG in inside and weights:
            return PartFiles(tuple(folder + name for name in (PART_CONFIG, *weights)), folder)
    files = [name for name in names if "/" not in name and name.endswith(FILE_SUFFIXES)]
    # Many publish the same twice, the older file pickled.
    chosen = [name for name in files if not name.endswith(".ckpt")] or files
    return PartFiles((chosen[0],), chosen[0]) if len(chosen) == 1 else None


def _cached_names(repo_id: str, part: str) -> Iterator[str]:
    """The files of a repository, as far as the cache knows them."""
    if (names := listed_in_cache(repo_id)) is not None:
        yield from names
    else:
        for name in (MODEL_INDEX, PART_CONFIG, f"{part}/{PART_CONFIG}"):
            if isinstance(place := try_to_load_from_cache(repo_id, name), str):
                folder = name.rpartition("/")[0]
                yield from (f"{folder}/{file.name}".lstrip("/") for file in Path(place).parent.iterdir())
