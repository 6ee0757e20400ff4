"""Lines of the log: in order, once a minute, and never waited for."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator

import pytest

from sd_api.logs import MOST_WAITING, OncePerMinute, QueuedLog


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    log = logging.Logger("one of its own")
    handler = QueuedLog()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    log.addHandler(handler)
    yield log
    handler.stop()


def test_lines_come_whole_and_in_order(log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(100):
        log.info("line %d", number)
    log.handlers[0].stop()  # type: ignore[attr-defined]
    assert capsys.readouterr().err.splitlines() == [f"INFO line {number}" for number in range(100)]


def test_nobody_waits_for_a_pipe_that_is_not_read(log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    # The descriptor is closed by hand, because closing the file fails once nobody can read it.
    pipe = os.fdopen(writing, "w", buffering=1, closefd=False)
    monkeypatch.setattr(sys, "stderr", pipe)
    with os.fdopen(reading) as reader:
        started = time.monotonic()
        for _ in range(10 * MOST_WAITING):
            log.info("x" * 200)
        assert time.monotonic() - started < 5
        # Once it is read, it goes on, and says how many lines are missing: all but those in the queue and in the pipe.
        written, missing = 0, 0
        while written + missing < 10 * MOST_WAITING:
            line = next(reader)
            missing += int(line.split()[0]) if "lines were left out" in line else 0
            written += "x" in line
        assert missing > 8 * MOST_WAITING
    # A terminal that has gone is no reason to stop.
    log.info("nobody sees this")
    log.handlers[0].stop()  # type: ignore[attr-defined]
    with contextlib.suppress(BrokenPipeError):
        pipe.close()
    os.close(writing)


def test_a_warning_that_repeats_is_written_once_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    once = OncePerMinute()

    def written(level: int, text: str, *values: object, fault: Exception | None = None) -> str | None:
        trace = None if fault is None else (type(fault), fault, fault.__traceback__)
        record = logging.LogRecord("a", level, "f", 1, text, values, trace)
        return record.getMessage() if once.filter(record) else None

    assert written(logging.WARNING, "bad %d", 1) == "bad 1"
    assert [written(logging.WARNING, "bad %d", number) for number in range(50)] == [None] * 50
    assert written(logging.WARNING, "another") == "another"
    # The same text with another exception is another fault.
    assert written(logging.ERROR, "bad %d", 2, fault=ValueError()) == "bad 2"
    assert [written(logging.INFO, "done") for _ in range(3)] == ["done"] * 3
    now += 61
    assert written(logging.WARNING, "bad %d", 3) == "bad 3 (and 50 times more since the last time)"
