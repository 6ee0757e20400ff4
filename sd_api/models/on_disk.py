"""The models that are on this machine: what they take on the disk, when they were used last, and their removal."""

import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from huggingface_hub import constants, scan_cache_dir
from huggingface_hub.errors import CacheNotFound
from huggingface_hub.utils import CachedRepoInfo  # type: ignore[attr-defined]  # public by its documentation

from sd_api.errors import ModelUnavailable
from sd_api.models import hub
from sd_api.models.files import find_faults
from sd_api.models.sources import HubModel, ModelFile, ModelSource, is_repo_id, parse_source
from sd_api.settings import Settings

# Seconds after which a model is looked at again, although nothing has changed in the folders of its repository: a file
# further inside may be gone.
_KEPT = 60

_looking = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """A model on this machine: a repository in the hub's cache, or a folder or file of the configuration.

    Attributes:
        repo_id: its id; of the configuration's own its path.
        bytes: what it takes on the disk, files of broken-off downloads included.
        last_used: seconds since 1970, as the file system says.
        complete: whether all files that a model of this server needs are there.
    """

    repo_id: str
    bytes: int
    last_used: float
    complete: bool


def bytes_on_disk(source: ModelSource) -> int | None:
    """What a model's files take on the disk; None for a model that is not downloaded."""
    if isinstance(source, HubModel):
        folder = hub.cached(source.repo_id, half=True)
        return None if folder is None else _size(folder)
    try:
        return source.path.stat().st_size if isinstance(source, ModelFile) else _size(source.path)
    except OSError:
        # It was there when the server was started.
        return None


def stored_models() -> list[StoredModel]:
    """The models in the hub's cache, the last used first."""
    found = [
        StoredModel(
            repo_id=repository.repo_id,
            bytes=_size(repository.repo_path / "blobs") or repository.size_on_disk,
            last_used=repository.last_accessed,
            complete=hub.cached(repository.repo_id, half=True) is not None,
        )
        for repository in _repositories()
    ]
    return sorted(found, key=lambda model: -model.last_used)


def complete_models() -> list[str]:
    """The ids of the hub's models that are complete on this machine, in the order of the alphabet.

    To look at one costs milliseconds, so each is looked at again only once it has changed, or a minute later.
    """
    repositories = [refs.parent for refs in sorted(Path(constants.HF_HUB_CACHE).glob("models--*/refs"))]
    # Many clients at the same time look once.
    with _looking:
        return [_id(repository) for repository in repositories if _is_complete(repository, _state(repository))]


def _id(repository: Path) -> str:
    return repository.name.removeprefix("models--").replace("--", "/")


def _state(repository: Path) -> tuple[int, ...]:
    """What changes with each file that is downloaded or removed, and each minute."""
    changed = [int(time.monotonic() // _KEPT)]
    for name in ("refs", "refs/main", "snapshots", "blobs", "trees"):
        with suppress(OSError):
            changed.append((repository / name).stat().st_mtime_ns)
    return tuple(changed)


@lru_cache(maxsize=4096)
def _is_complete(repository: Path, state: tuple[int, ...]) -> bool:  # noqa: ARG001 - the state is a part of the key
    repo_id = _id(repository)
    try:
        return is_repo_id(repo_id) and hub.cached(repo_id, half=True) is not None
    except ModelUnavailable:
        # Its index is damaged.
        return False


def configured_models(settings: Settings) -> list[StoredModel]:
    """The folders and files that the configuration names as models, in its order."""
    names = [str(settings.model), *(str(custom.model_path) for custom in settings.custom_models)]
    found: dict[str, StoredModel] = {}
    for name in names:
        with suppress(ModelUnavailable):
            source = parse_source(name)
            if not isinstance(source, HubModel):
                files = [source.path] if isinstance(source, ModelFile) else list(source.path.rglob("*"))
                found[str(source.path)] = StoredModel(
                    repo_id=str(source.path),
                    bytes=bytes_on_disk(source) or 0,
                    last_used=max(file.stat().st_atime for file in files if file.is_file()),
                    complete=not find_faults(source),
                )
    return list(found.values())


def remove_model(repo_id: str) -> int:
    """Delete a model from the hub's cache.

    Returns:
        The bytes that were freed.

    Raises:
        ModelUnavailable: it is not there.
    """
    found = next((repository for repository in _repositories() if repository.repo_id == repo_id), None)
    if found is None:
        raise ModelUnavailable(f"{repo_id} is not in {constants.HF_HUB_CACHE}; python server.py models lists what is")
    size = _size(found.repo_path / "blobs") or found.size_on_disk
    # The library's own way leaves a repository of which no file is complete.
    shutil.rmtree(found.repo_path)
    return size


def _repositories() -> Sequence[CachedRepoInfo]:
    try:
        cache = scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return ()
    return [repository for repository in cache.repos if repository.repo_type == "model"]


def _size(folder: Path) -> int:
    """The bytes of all files in a folder, each counted once however many links lead to it."""
    files = {file.resolve() for file in folder.rglob("*") if file.is_file()}
    return sum(file.stat().st_size for file in files)
