"""How far a download is: the bars on the terminal, and who watches it."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]  # public by its documentation

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


@contextmanager
def watched_downloads(watcher: DownloadWatcher) -> Iterator[None]:
    """Have a watcher called for the downloads that begin in this block on this thread."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


@contextmanager
def progress_bars(check: Callable[[int], None]) -> Iterator[type[tqdm]]:
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
