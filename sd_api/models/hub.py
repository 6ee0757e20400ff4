"""Downloads models from the Hugging Face hub into its cache on this machine."""

import glob
import logging
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import (
    HfApi,
    constants,
    get_cached_repo_tree,
    hf_hub_download,
    set_client_factory,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import CachedRepoTreeNotFoundError, LocalEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import WeakFileLock, httpx  # type: ignore[attr-defined]  # whichever httpx it uses
from huggingface_hub.utils._http import default_client_factory

from sd_api.errors import ModelUnavailable
from sd_api.models.bounded_files import MAX_CONFIG_BYTES, FileFaultError, read_object
from sd_api.models.download_limits import check_disk, check_size
from sd_api.models.download_progress import LARGE_FILES, progress_bars
from sd_api.models.files import find_faults
from sd_api.models.hub_faults import explained
from sd_api.models.memory_values import gigabytes
from sd_api.models.pipeline_files import missing_parts, needed_files, why_unfit
from sd_api.models.resumed import fetch, large_files
from sd_api.models.sources import MODEL_INDEX, ModelDirectory
from sd_api.settings import Limits, Settings

log = logging.getLogger(__name__)

_configuring = threading.Lock()


def token_of(settings: Settings) -> str | None:
    """The token in plain text, for the hub library."""
    return settings.hf_token.get_secret_value() if settings.hf_token else None


def cached(repo_id: str, *, half: bool, without: Collection[str] = ()) -> Path | None:
    """The folder of a model in the cache, without network; None if the model is not complete there.

    Args:
        repo_id: the id of the model.
        half: whether weights in half precision suffice; otherwise those in full precision are needed, if the
            repository has any.
        without: the parts whose weights are not needed.
    """
    index = try_to_load_from_cache(repo_id, MODEL_INDEX)
    if not isinstance(index, str):
        return None
    folder = Path(index).parent
    if (names := listed_in_cache(repo_id)) is None:
        return None if find_faults(ModelDirectory(folder), without) else folder
    content = _read(index)
    precisions = (False, True) if half else (False,)
    choices = [needed_files(content, names, half=choice, without=without) for choice in precisions]
    return folder if any(all((folder / name).is_file() for name in needed) for needed in choices) else None


def listed_in_cache(repo_id: str) -> list[str] | None:
    """The files of a repository by the list in the cache; None where there is none.

    Only newer versions of the library store one, and other programs write into the cache as well.
    """
    try:
        return [file.path for file in get_cached_repo_tree(repo_id)]
    except (CachedRepoTreeNotFoundError, OSError, ValueError, TypeError, AttributeError, LookupError):
        # The library looks at nothing that it reads there.
        return None


def files_in_cache(repo_id: str) -> list[str]:
    """The files of a repository that are in the cache, by looking there."""
    try:
        folder = Path(snapshot_download(repo_id, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        return []
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def folder_of(repo_id: str) -> Path | None:
    """The folder of a model in the cache, complete or not; None if not even its index is there."""
    index = try_to_load_from_cache(repo_id, MODEL_INDEX)
    return Path(index).parent if isinstance(index, str) else None


def download(repo_id: str, token: str | None, limits: Limits, *, half: bool, without: Collection[str] = ()) -> Path:
    """Download a model into the cache; files that an earlier attempt has completed are kept.

    Args:
        repo_id: for example ``stable-diffusion-v1-5/stable-diffusion-v1-5``.
        token: the token for gated and private models; None uses the login stored on this machine, if there is one.
        limits: the largest model, and the room that is left on the disk.
        half: whether to prefer weights in half precision.
        without: the parts whose weights are not needed.

    Returns:
        The folder with ``model_index.json``.

    Raises:
        ModelUnavailable: the message has the reason, and what to do.
    """
    with conversation(repo_id, token):
        needed, _ = _find_needed(repo_id, token, limits, half=half, without=without)
        folder = fetch_named(repo_id, needed, token, limits)
    _remove_leftovers(repo_id)
    return folder


def check_access(repo_id: str, token: str | None, limits: Limits, *, half: bool, without: Collection[str] = ()) -> int:
    """Check on the hub that a model exists, that this server runs it, that it may be downloaded, and that it fits.

    Args:
        repo_id: the id of the model.
        token: for gated and private models.
        limits: the largest model, and the room that is left on the disk.
        half: whether to prefer weights in half precision.
        without: the parts whose weights are not needed.

    Returns:
        The bytes that are to be downloaded, as far as the hub states them.

    Raises:
        ModelUnavailable: the message has the reason, and what to do.
    """
    with conversation(repo_id, token):
        return _find_needed(repo_id, token, limits, half=half, without=without)[1]


def check_exists(repo_id: str, token: str | None) -> None:
    """Check on the hub that a repository may be read.

    Raises:
        ModelUnavailable: the message has the reason, and what to do.
    """
    with conversation(repo_id, token):
        HfApi(token=token).model_info(repo_id)


def cached_files(repo_id: str, names: Sequence[str]) -> Path | None:
    """The folder in the cache with these files of a repository; None if one of them is missing."""
    first = try_to_load_from_cache(repo_id, names[0])
    if isinstance(first, str) and all((Path(first).parent / name).is_file() for name in names):
        return Path(first).parent
    return None


def fetch_files(repo_id: str, names: Sequence[str], token: str | None, limits: Limits) -> Path:
    """Download files from the top of a repository into the cache, unless they are there.

    Returns:
        The folder with the files.

    Raises:
        ModelUnavailable: the message has the reason, and what to do.
    """
    if (folder := cached_files(repo_id, names)) is not None:
        return folder
    with conversation(repo_id, token):
        return fetch_named(repo_id, names, token, limits)


@contextmanager
def conversation(repo_id: str, token: str | None) -> Iterator[None]:
    """Configure the hub library for the calls in this block: time limits, and translated errors.

    Args:
        repo_id: the repository, for the messages.
        token: the token of the calls, if any.

    Raises:
        ModelUnavailable: the message has the reason, and what to do.
    """
    with _configuring:
        _configure_library()
    with explained(repo_id, token):
        yield


@cache
def _configure_library() -> None:
    """Once only: a new factory closes the connections of all other threads."""
    # Xet, the other way to download, retries for minutes behind a firewall, and then gives no reason.
    constants.HF_HUB_DISABLE_XET = True
    constants.HF_HUB_DISABLE_TELEMETRY = True
    set_client_factory(_make_client)


def _make_client() -> httpx.Client:
    client = default_client_factory()
    client.event_hooks["request"].append(_limit_waiting)
    return client


def _limit_waiting(request: httpx.Request) -> None:
    """Give each request a time limit, because the library sets none for many, and a minute for some."""
    longest = constants.HF_HUB_DOWNLOAD_TIMEOUT
    limits = request.extensions["timeout"]
    request.extensions["timeout"] = {phase: min(seconds or longest, longest) for phase, seconds in limits.items()}


def sizes_on_hub(api: HfApi, repo_id: str) -> dict[str, int]:
    """The files of a repository with their bytes; 0 where the hub leaves them out: what arrives is counted, too."""
    siblings = api.model_info(repo_id, files_metadata=True).siblings or ()
    return {sibling.rfilename: sibling.size or 0 for sibling in siblings}


def _find_needed(
    repo_id: str, token: str | None, limits: Limits, *, half: bool, without: Collection[str] = ()
) -> tuple[list[str], int]:
    """The files that a model needs, and the bytes of those that are not in the cache."""
    api = HfApi(token=token)
    sizes = sizes_on_hub(api, repo_id)
    if MODEL_INDEX not in sizes:
        raise ModelUnavailable(
            f"{repo_id} is on the Hugging Face hub, but it is not a diffusers model: it has no {MODEL_INDEX}. "
            "If it holds a single .safetensors file, download that and give its path as the model."
        )
    api.auth_check(repo_id)
    if sizes[MODEL_INDEX] > MAX_CONFIG_BYTES:
        raise ModelUnavailable(f"{repo_id} is refused: its {MODEL_INDEX} has {gigabytes(sizes[MODEL_INDEX])}.")
    index = _read(hf_hub_download(repo_id, MODEL_INDEX, token=token))
    if reason := why_unfit(index, sizes):
        raise ModelUnavailable(f"{repo_id} {reason}")
    if missing := missing_parts(index):
        raise ModelUnavailable(f"{repo_id} is incomplete: its {MODEL_INDEX} names no {missing[0]}.")
    needed = [MODEL_INDEX, *needed_files(index, sizes, half=half, without=without)]
    check_size(repo_id, sum(sizes[name] for name in needed), limits)
    absent = [name for name in needed if not isinstance(try_to_load_from_cache(repo_id, name), str)]
    to_come = sum(sizes[name] for name in absent)
    check_disk(repo_id, to_come, limits)
    return needed, to_come


def fetch_named(repo_id: str, names: Sequence[str], token: str | None, limits: Limits) -> Path:
    """Download files of a repository into the cache, within a ``conversation``; those that are there are kept.

    Returns:
        The folder of the repository.
    """
    log.info("Downloading %s from the Hugging Face hub", repo_id)

    def check(written: int) -> None:
        check_size(repo_id, written, limits)
        check_disk(repo_id, 0, limits)

    try:
        with progress_bars(check) as bar:
            if large := large_files(repo_id, names, token):
                total = sum(file.size or 0 for file in large)
                own = bar(total=total, unit="B", unit_scale=True, name=LARGE_FILES, desc="Downloading", disable=None)
                fetch(large, token, own.update)
            exactly = [*map(glob.escape, names)]
            folder = Path(snapshot_download(repo_id, allow_patterns=exactly, token=token, tqdm_class=bar))
    except ModelUnavailable:
        # It is not going to be completed, so its parts are of no use.
        _remove_leftovers(repo_id)
        raise
    if missing := [name for name in names if not (folder / name).is_file()]:
        # If the hub fails in between, the library returns an incomplete folder.
        raise ConnectionError(f"{missing[0]} did not arrive")
    return folder


def _read(index: str) -> dict[str, Any]:
    try:
        return read_object(Path(index))
    except FileFaultError as fault:
        raise ModelUnavailable(f"{fault}.") from None


def _remove_leftovers(repo_id: str) -> None:
    """Delete the files of interrupted downloads from the cache, because the library never deletes them."""
    repository = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="model")
    for leftover in repository.glob("blobs/*.incomplete"):
        etag = leftover.name.split(".")[0]
        lock = repository.parent / ".locks" / repository.name / f"{etag}.lock"
        # Another process that is downloading this file holds the lock.
        with suppress(OSError), WeakFileLock(lock, timeout=0.1):
            leftover.unlink()
