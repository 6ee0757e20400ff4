"""Reads the tensors of a model file. A file may come from anywhere, so no code in it is run."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from sd_api.models.files import find_faults
from sd_api.models.pickled import unreadable, without_pickles
from sd_api.models.sources import ModelFile


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read every tensor of a ``.safetensors`` file, or of a PyTorch file such as ``.ckpt``.

    The tensors are memory-mapped, so that they take memory only once they are used.

    Raises:
        ModelUnavailable: the file is damaged, or contains Python code.
    """
    source = ModelFile(path)
    if faults := find_faults(source):
        raise unreadable(path, faults[0].removeprefix(f"{path}: "))
    try:
        return load_file(without_pickles(source).path)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        # Its header is right, and it holds what this version of torch has no type for.
        raise unreadable(path, f"{type(error).__name__}: {error}") from None
