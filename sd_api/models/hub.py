"""Downloads models from the Hugging Face hub into its cache on this machine."""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
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
from huggingface_hub.errors import CachedRepoTreeNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # httpx is whichever of its two it uses
    WeakFileLock,
    httpx,
    tqdm,
)
from huggingface_hub.utils._http import default_client_factory

from sd_api.errors import ModelUnavailable
from sd_api.models.bounded_files import MAX_CONFIG_BYTES, FileFaultError, read_object
from sd_api.models.files import find_faults
from sd_api.models.hub_faults import explained
from sd_api.models.pipeline_files import missing_parts, needed_files, why_unfit
from sd_api.models.resumed import fetch, large_files
from sd_api.models.sources import MODEL_INDEX, ModelDirectory
from sd_api.settings import Limits, Settings
from sd_api.storage.disk import kept_free

log = logging.getLogger(__name__)

# The name of the progress bar in which the library counts the bytes that it has written.
WRITTEN_BYTES = "huggingface_hub.snapshot_download"

# That of the bar for large files; those of the group are drawn.
LARGE_FILES = "huggingface_hub.snapshot_download.transfer.large_files"
_TRANSFER = LARGE_FILES.rpartition(".")[0]

# Seconds between two reports of a download.
REPORT_INTERVAL = 0.2

DownloadWatcher = Callable[[int, int], None]
"""Called with the bytes that have arrived and the total, from any thread.

If it raises JobCancelled, the download is aborted; the next download of these files resumes there.
"""

_watcher: ContextVar[DownloadWatcher | None] = ContextVar("download watcher", default=None)


def token_of(settings: Settings) -> str | None:
    """The token in plain text, for the hub library."""
    return settings.hf_token.get_secret_value() if settings.hf_token else None


@contextmanager
def watched_downloads(watcher: DownloadWatcher) -> Iterator[None]:
    """Have a watcher called for the downloads that begin in this block on this thread."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def cached(repo_id: str, *, half: bool) -> Path | None:
    """The folder of a model in the cache, without network; None if the model is not complete there.

    Args:
        repo_id: the id of the model.
        half: whether weights in half precision suffice; otherwise those in full precision are needed, if the
            repository has any.
    """
    index = try_to_load_from_cache(repo_id, MODEL_INDEX)
    if not isinstance(index, str):
        return None
    folder = Path(index).parent
    try:
        names = [file.path for file in get_cached_repo_tree(repo_id)]
    except CachedRepoTreeNotFoundError:
        # Only newer versions of the library store the list of a repository's files.
        return None if find_faults(ModelDirectory(folder)) else folder
    content = _read(index)
    choices = [needed_files(content, names, half=choice) for choice in ((False, True) if half else (False,))]
    return folder if any(all((folder / name).is_file() for name in needed) for needed in choices) else None


def download(repo_id: str, token: str | None, limits: Limits, *, half: bool) -> Path:
    """Download a model into the cache; files that an earlier attempt has completed are kept.

    Args:
        repo_id: for example ``stable-diffusion-v1-5/stable-diffusion-v1-5``.
        token: the token for gated and private models; None uses the login stored on this machine, if there is one.
        limits: the largest model, and the room that is left on the disk.
        half: whether to prefer weights in half precision.

    Returns:
        The folder with ``model_index.json``.

    Raises:
        ModelUnavailable: the message has the reason, and what to do.
    """
    with conversation(repo_id, token):
        folder = _fetch(repo_id, _find_needed(repo_id, token, limits, half=half)[0], token, limits)
    _remove_leftovers(repo_id)
    return folder


def check_access(repo_id: str, token: str | None, limits: Limits, *, half: bool) -> int:
    """Check on the hub that a model exists, that this server runs it, that it may be downloaded, and that it fits.

    Args:
        repo_id: the id of the model.
        token: for gated and private models.
        limits: the largest model, and the room that is left on the disk.
        half: whether to prefer weights in half precision.

    Returns:
        The bytes that are to be downloaded, as far as the hub states them.

    Raises:
        ModelUnavailable: the message has the reason, and what to do.
    """
    with conversation(repo_id, token):
        return _find_needed(repo_id, token, limits, half=half)[1]


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
        return _fetch(repo_id, names, token, limits)


@contextmanager
def conversation(repo_id: str, token: str | None) -> Iterator[None]:
    """Configure the hub library for the calls in this block: time limits, and translated errors.

    Args:
        repo_id: the repository, for the messages.
        token: the token of the calls, if any.

    Raises:
        ModelUnavailable: the message has the reason, and what to do.
    """
    # Xet, the other way to download, retries for minutes behind a firewall, and then gives no reason.
    constants.HF_HUB_DISABLE_XET = True
    constants.HF_HUB_DISABLE_TELEMETRY = True
    set_client_factory(_make_client)
    with explained(repo_id, token):
        yield


def _make_client() -> httpx.Client:
    client = default_client_factory()
    client.event_hooks["request"].append(_limit_waiting)
    return client


def _limit_waiting(request: httpx.Request) -> None:
    """Give each request a time limit, because the library sets none for many, and a minute for some."""
    longest = constants.HF_HUB_DOWNLOAD_TIMEOUT
    limits = request.extensions["timeout"]
    request.extensions["timeout"] = {phase: min(seconds or longest, longest) for phase, seconds in limits.items()}


def _find_needed(repo_id: str, token: str | None, limits: Limits, *, half: bool) -> tuple[list[str], int]:
    """The files that a model needs, and the bytes of those that are not in the cache."""
    api = HfApi(token=token)
    siblings = api.model_info(repo_id, files_metadata=True).siblings or ()
    # The hub may leave out a size; what arrives is counted, too.
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in siblings}
    if MODEL_INDEX not in sizes:
        raise ModelUnavailable(
            f"{repo_id} is on the Hugging Face hub, but it is not a diffusers model: it has no {MODEL_INDEX}. "
            "If it holds a single .safetensors file, download that and give its path as the model."
        )
    api.auth_check(repo_id)
    if sizes[MODEL_INDEX] > MAX_CONFIG_BYTES:
        raise ModelUnavailable(f"{repo_id} is refused: its {MODEL_INDEX} has {_gigabytes(sizes[MODEL_INDEX])}.")
    index = _read(hf_hub_download(repo_id, MODEL_INDEX, token=token))
    if reason := why_unfit(index, sizes):
        raise ModelUnavailable(f"{repo_id} {reason}")
    if missing := missing_parts(index):
        raise ModelUnavailable(f"{repo_id} is incomplete: its {MODEL_INDEX} names no {missing[0]}.")
    needed = [MODEL_INDEX, *needed_files(index, sizes, half=half)]
    _check_size(repo_id, sum(sizes[name] for name in needed), limits)
    absent = [name for name in needed if not isinstance(try_to_load_from_cache(repo_id, name), str)]
    to_come = sum(sizes[name] for name in absent)
    _check_disk(repo_id, to_come, limits)
    return needed, to_come


def _check_size(repo_id: str, size: int, limits: Limits) -> None:
    if size > limits.max_model_bytes:
        raise ModelUnavailable(
            f"{repo_id} has at least {_gigabytes(size)}, and {_gigabytes(limits.max_model_bytes)} are allowed. "
            "limits.max_model_bytes in the configuration allows more."
        )


def _check_disk(repo_id: str, needed: int, limits: Limits) -> None:
    cache = Path(constants.HF_HUB_CACHE)
    # The folder is made by the first download.
    disk = shutil.disk_usage(next(folder for folder in (cache, *cache.parents) if folder.is_dir()))
    kept = kept_free(disk.total, limits.min_free_disk_bytes)
    if disk.free - needed < kept:
        raise ModelUnavailable(
            f"The disk is full, so {repo_id} could not be downloaded to {cache}: {_gigabytes(needed)} are to come, "
            f"{_gigabytes(disk.free)} are free, and {_gigabytes(kept)} stay free (limits.min_free_disk_bytes). "
            "Free some space and try again, or set the environment variable HF_HOME to a folder on another disk."
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _fetch(repo_id: str, names: Sequence[str], token: str | None, limits: Limits) -> Path:
    log.info("Downloading %s from the Hugging Face hub", repo_id)

    def check(written: int) -> None:
        _check_size(repo_id, written, limits)
        _check_disk(repo_id, 0, limits)

    try:
        with _bars(check) as bar:
            if large := large_files(repo_id, names, token):
                total = sum(file.size or 0 for file in large)
                own = bar(total=total, unit="B", unit_scale=True, name=LARGE_FILES, desc="Downloading", disable=None)
                fetch(large, token, own.update)
            folder = Path(snapshot_download(repo_id, allow_patterns=[*names], token=token, tqdm_class=bar))
    except ModelUnavailable:
        # It is not going to be completed, so its parts are of no use.
        _remove_leftovers(repo_id)
        raise
    if missing := [name for name in names if not (folder / name).is_file()]:
        # If the hub fails in between, the library returns an incomplete folder.
        raise ConnectionError(f"{missing[0]} did not arrive")
    return folder


@contextmanager
def _bars(check: Callable[[int], None]) -> Iterator[type[tqdm]]:
    """A class for progress bars that reports to the watcher; its bars are closed with the block.

    Args:
        check: called with the bytes that have arrived; what it raises ends the download.
    """
    with ExitStack() as opened:
        watcher, counting = _watcher.get(), []

        class Bar(tqdm):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                name = options.get("name")
                # The library has two bars that count bytes; the one for written bytes counts those that are usable.
                if options.get("unit") == "B" and name in (LARGE_FILES, WRITTEN_BYTES):
                    counting.append(self)
                elif name == _TRANSFER and counting and counting[0].total:
                    # What is left are small files.
                    options["disable"] = True
                self.written = 0
                self._last_report = 0.0
                super().__init__(*arguments, **options | {"bar_format": None})  # type: ignore[no-untyped-call]
                opened.callback(self.close)

            def update(self, n: float | None = 1) -> bool | None:
                self.written += int(n or 0)
                if self in counting and time.monotonic() - self._last_report > REPORT_INTERVAL:
                    self._last_report = time.monotonic()
                    written = sum(bar.written for bar in counting)
                    check(written)
                    if watcher is not None:
                        watcher(written, sum(int(bar.total or 0) for bar in counting))
                shown: bool | None = super().update(n)
                return shown

        yield Bar


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
