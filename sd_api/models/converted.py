"""Copies of models in the precision in which they run.

Converting weights from single precision takes seconds at every start; reading a converted copy takes a fraction of
that. Copies are made in the background after the first conversion, and stay in the hub's cache folder until the model
changes.
"""

import logging
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sd_api.models.copies import NoRoomError, lock_of, make_copy, mark_used, place_of
from sd_api.models.device import HALF_PRECISIONS
from sd_api.models.files import find_faults
from sd_api.models.sources import ModelDirectory

log = logging.getLogger(__name__)


def find_copy(path: Path, dtype: torch.dtype) -> Path | None:
    """The copy of a model's directory in a precision; None if there is none, or if the model has changed since."""
    copy = _place(path, dtype)
    if not copy.is_dir():
        return None
    if faults := find_faults(ModelDirectory(copy)):
        # A power failure can leave empty files; the model itself is used instead.
        log.warning("The converted copy of %s is not used: %s", path, faults[0])
        return None
    mark_used(copy)
    return copy


def is_worth_copying(path: Path, dtype: torch.dtype) -> bool:
    """Whether loading a model's directory converts single precision to ``dtype``."""
    weights = sorted((path / "unet").glob("*.safetensors"))
    return dtype in HALF_PRECISIONS and bool(weights) and _dtype_of(weights[0]) == "F32"


def copy_in_background(path: Path, dtype: torch.dtype) -> threading.Thread:
    """Start a thread that copies a model's directory; if it fails, the error is logged and there is no copy."""

    def copy() -> None:
        try:
            place = _place(path, dtype)
            with FileLock(lock_of(place), timeout=0):
                _copy(path, dtype, place)
        except Timeout:
            # Another thread or another server is making the copy.
            return
        except Exception as error:
            # A full disk or memory has more exceptions than OSError and MemoryError.
            log.warning("No converted copy of %s could be made: %s", path, error)

    # A daemon, so that it does not keep a stopped process alive; an incomplete copy is never used.
    thread = threading.Thread(target=copy, name="converting", daemon=True)
    thread.start()
    return thread


def _copy(path: Path, dtype: torch.dtype, copy: Path) -> None:
    if find_copy(path, dtype) is not None:
        return
    files = [file for file in path.rglob("*") if file.is_file() and not file.relative_to(path).parts[0].startswith(".")]
    needed = sum(file.stat().st_size for file in files if file.suffix == ".safetensors") // 2
    try:
        make_copy(copy, needed, lambda folder: _convert(files, path, dtype, folder))
    except NoRoomError as error:
        log.info("No converted copy of %s is made: %s", path, error)
        return
    log.info("Made a converted copy of %s in %s, which the next start loads faster", path, copy)


def _convert(files: Iterable[Path], path: Path, dtype: torch.dtype, unfinished: Path) -> None:
    """Convert every weight file, and copy the other files of the model."""
    for file in files:
        target = unfinished / file.relative_to(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".safetensors":
            tensors = {
                name: tensor.to(dtype) if tensor.is_floating_point() else tensor
                for name, tensor in load_file(file).items()
            }
            save_file(tensors, target, {"format": "pt"})
        elif file.suffix in (".json", ".txt", ".model"):
            shutil.copyfile(file, target)


def _place(path: Path, dtype: torch.dtype) -> Path:
    return place_of(path, "precision", str(dtype))


def _dtype_of(file: Path) -> str:
    """The type of the first tensor in a safetensors file, as its header spells it."""
    with safe_open(file, "pt") as weights:
        return str(weights.get_slice(next(iter(weights.keys()))).get_dtype())
