"""What every training here shares: seeds, a learning rate's course, a log, and resuming."""

import json
import time
from pathlib import Path
from typing import Any

import torch

SEED = 20


class Log:
    """Lines of JSON, one a report, added to a file and shown."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def write(self, **values: Any) -> None:
        """Add one report."""
        rounded = {key: round(value, 5) if isinstance(value, float) else value for key, value in values.items()}
        line = json.dumps(rounded)
        print(line, flush=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def learning_rate(progress: float, peak: float) -> float:
    """Up in the first hundredth, level, and down to nearly nothing in the last third.

    Level for most of the way, so that a run can be made longer before it ends (arXiv 2405.18392).

    Args:
        progress: 0 at the start of the training, 1 at its end.
        peak: the highest rate.
    """
    return peak * max(0.01, min(1.0, (progress + 0.0002) / 0.01, (1 - progress) / 0.35))


def save(path: Path, **parts: Any) -> None:
    """Write a checkpoint whole or not at all, so that a killed run goes on from the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    torch.save(parts, unfinished)
    unfinished.replace(path)


def load(path: Path) -> dict[str, Any] | None:
    """What ``save`` wrote; None where there is nothing."""
    return torch.load(path, weights_only=True) if path.exists() else None


class Timer:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def seconds(self) -> float:
        """How long ago that was."""
        return time.monotonic() - self._start
