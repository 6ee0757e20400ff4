"""Downloads large files of the hub into its cache, and goes on within a file where an earlier attempt was broken off.

The hub's library downloads each file anew, because processes could write into the same one where locks have no effect.
What is complete lies where the library looks for it, and it makes the rest.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]  # public in its docs

SUFFIXES = (".safetensors", ".bin", ".ckpt", ".gguf")
AT_ONCE = 4
"""Files that are downloaded at the same time."""


@dataclass(frozen=True, kw_only=True)
class LargeFile:
    """A file with weights that is not in the cache.

    Attributes:
        url: where it is.
        blob: where the library looks for its content.
        lock: the file to lock meanwhile, the library's own.
        size: its bytes; None if the hub does not say.
    """

    url: str
    blob: Path
    lock: Path
    size: int | None


class _StoppedError(Exception):
    """Another file could not be downloaded."""


def large_files(repo_id: str, names: Sequence[str], token: str | None) -> list[LargeFile]:
    """Those of a repository's files that hold weights and are not in the cache."""
    cache, folder = Path(constants.HF_HUB_CACHE), repo_folder_name(repo_id=repo_id, repo_type="model")
    found = []
    for name in names:
        if name.endswith(SUFFIXES) and not isinstance(try_to_load_from_cache(repo_id, name), str):
            url = hf_hub_url(repo_id, name)
            file = get_hf_file_metadata(url, token=token)
            # Without a name for its content, the library refuses it, and says why.
            if file.etag is not None:
                blob = cache / folder / "blobs" / file.etag
                lock = cache / ".locks" / folder / f"{file.etag}.lock"
                found.append(LargeFile(url=url, blob=blob, lock=lock, size=file.size))
    return found


def fetch(files: Sequence[LargeFile], token: str | None, count: Callable[[int], object]) -> None:
    """Download files, several at a time.

    Args:
        files: see ``large_files``.
        token: for the hub.
        count: is called with the bytes that have arrived, those of earlier attempts included; from any thread, but
            never from two at the same time. What it raises ends the download, and what has arrived is kept.
    """
    stop, lock = threading.Event(), threading.Lock()

    def counted(size: int) -> None:
        if stop.is_set():
            raise _StoppedError
        with lock:
            count(size)

    def fetch_one(file: LargeFile) -> None:
        try:
            _fetch(file, token, counted)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="downloading") as pool:
        futures = [pool.submit(fetch_one, file) for file in files]
        try:
            failures = [future.exception() for future in futures]
        except BaseException:
            # Ctrl-C comes in here; the threads end with what they have.
            stop.set()
            raise
    for failure in failures:
        if failure is not None and not isinstance(failure, _StoppedError):
            raise failure


def _fetch(file: LargeFile, token: str | None, count: Callable[[int], None]) -> None:
    for place in (file.blob, file.lock):
        place.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(file.lock):
        if file.blob.exists():
            # Another process was quicker.
            return
        part = file.blob.with_name(f"{file.blob.name}.incomplete")
        with _CountedFile(part, count) as opened:
            count(opened.start)
            headers = build_hf_headers(token=token)
            http_get(file.url, opened, resume_size=opened.start, headers=headers, expected_size=file.size)
        part.rename(file.blob)


class _CountedFile(BufferedWriter):
    """A file to append to, which counts what is written.

    Attributes:
        start: The bytes that were there before.
    """

    def __init__(self, path: Path, count: Callable[[int], None]) -> None:
        super().__init__(FileIO(path, "ab"))
        self._count = count
        self.start = self.seek(0, 2)

    def write(self, data: Any) -> int:
        self._count(len(data))
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        # The hub sends the file from its beginning.
        before = self.raw.seek(0, 2)
        now = super().truncate(size)
        self._count(now - before)
        return now
