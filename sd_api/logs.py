"""Lines for the terminal, written by a thread of their own.

A pipe without a reader, or a terminal that is held, blocks every thread that writes to it. So lines go through a
bounded queue to a thread that has nothing else to do.
"""

import logging
import logging.handlers
import os
import queue
import sys
import textwrap
import threading
import time
from collections.abc import Hashable

from tqdm import tqdm

# Lines that may wait for the terminal; further ones are counted and left out.
MOST_WAITING = 1000

# Seconds in which a warning is written once, however often it happens.
REPEAT_SECONDS = 60.0

# Different warnings that are remembered; beyond this the oldest are forgotten.
MOST_REMEMBERED = 200

# Seconds that the last lines have at the end of the process.
LAST_LINES = 1.0

# Columns of the time and the two blanks with which a line begins.
TIME_COLUMNS = 10


def wrapped(text: str, indent: int) -> str:
    """A line as it goes to the terminal: broken at words where the terminal is narrower, whole in a file or a pipe.

    Args:
        text: the line.
        indent: the blanks before each further line.
    """
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return text
    # A path or an address stays in one piece, so that it can be copied.
    return textwrap.fill(
        text, max(columns, 40), subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )


class Lines(logging.Formatter):
    """Writes a line of the log so that it fits the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - a name of the library
        """See the base class; the trace of an exception comes after it, as it is."""
        return wrapped(super().formatMessage(record), TIME_COLUMNS)


class QueuedLog(logging.handlers.QueueHandler):
    """A handler that never blocks: a full queue drops the line and counts it."""

    def __init__(self) -> None:
        self._lines: queue.Queue[logging.LogRecord | None] = queue.Queue(MOST_WAITING)
        super().__init__(self._lines)
        self.addFilter(OncePerMinute())
        self._dropped = 0
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def enqueue(self, record: logging.LogRecord) -> None:
        """See the base class."""
        try:
            self._lines.put_nowait(record)
        except queue.Full:
            self._dropped += 1

    def stop(self) -> None:
        """Write what waits, if the terminal takes it."""
        try:
            self._lines.put(None, timeout=LAST_LINES)
        except queue.Full:
            return
        self._writer.join(LAST_LINES)

    def _write(self) -> None:
        while (record := self._lines.get()) is not None:
            # Above the bar of a running job, not into it.
            try:
                tqdm.write(str(record.msg), file=sys.stderr)
                if self._dropped:
                    dropped, self._dropped = self._dropped, 0
                    tqdm.write(f"{dropped} lines were left out, because nobody read them.", file=sys.stderr)
            except OSError:
                # The terminal has gone; the server goes on.
                continue


class OncePerMinute(logging.Filter):
    """Lets a warning or an error pass once a minute, and says then how often it came in between.

    The same is what comes from the same place: the same text without its values, and the same exception in the
    same line of code.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        # When it was written, and how often it has come since.
        self._known: dict[Hashable, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See the base class."""
        if record.levelno < logging.WARNING:
            return True
        kind = (record.name, record.msg if isinstance(record.msg, str) else type(record.msg), _place(record))
        now = time.monotonic()
        with self._lock:
            written, since = self._known.get(kind, (-REPEAT_SECONDS, 0))
            if now - written < REPEAT_SECONDS:
                self._known[kind] = written, since + 1
                return False
            self._known.pop(kind, None)
            self._known[kind] = now, 0
            if len(self._known) > MOST_REMEMBERED:
                del self._known[next(iter(self._known))]
        if since:
            record.msg, record.args = f"{record.getMessage()} (and {since} times more since the last time)", None
        return True


def _place(record: logging.LogRecord) -> Hashable:
    """What exception a line tells of, and where that was raised; None where it tells of none."""
    if not record.exc_info or record.exc_info[0] is None:
        return None
    kind, _, trace = record.exc_info
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return kind, trace and (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
