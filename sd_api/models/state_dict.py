"""Reads the tensors of a model file. A file may come from anywhere, so no code in it is run."""

import pickle
import re
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from sd_api.errors import ModelUnavailable

# Modules of the objects that PyTorch Lightning, which trains Stable Diffusion and DreamBooth, stores with weights.
TRAINING_RECORDS = ("pytorch_lightning.", "lightning.", "lightning_fabric.", "numpy.")


class _TrainingRecord:
    """A placeholder for an object that a trainer has stored in the file."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read every tensor of a ``.safetensors`` file, or of a PyTorch file such as ``.ckpt``.

    The tensors are memory-mapped if the format of the file allows it, so that they take memory only once they are used.

    Raises:
        ModelUnavailable: the file is damaged, or contains Python code.
    """
    try:
        content = load_file(path) if path.suffix.lower() == ".safetensors" else _read_pickle(path)
    except pickle.UnpicklingError as error:
        if foreign := re.search(r"GLOBAL (\S+)", str(error)):
            raise ModelUnavailable(
                f"{path} was refused: beside its weights it holds Python code ({foreign[1]}), which would "
                "run while the file is read. Get the model as a .safetensors file, which cannot hold code."
            ) from None
        # The message of torch recommends to read the file without this protection.
        raise _unreadable(path, "it is not a PyTorch file that holds plain weights") from None
    except MemoryError:
        raise
    except Exception as error:
        # A damaged file can raise any exception.
        raise _unreadable(path, f"{type(error).__name__}: {str(error).split('. ')[0]}") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise _unreadable(path, "it is not a table of named weights")
    return {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}


def _read_pickle(path: Path) -> object:
    is_zip = zipfile.is_zipfile(path)
    foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path) if is_zip else []
    records = ((_TrainingRecord, name) for name in foreign if name.startswith(TRAINING_RECORDS))
    with torch.serialization.safe_globals([*records]):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)


def _unreadable(path: Path, reason: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"{path} cannot be read as a model file: {reason}. It may be damaged, or its download incomplete; get it again."
    )
