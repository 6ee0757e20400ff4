"""The process that reads one pickled file and writes its tensors as safetensors.

``python -m sd_api.models.pickle_reader <pickled file> <new file>`` prints one JSON object: empty if the file is
written; otherwise ``code``, a name that would be imported, or ``problem``. The pickled file may come from anywhere. It
is read weights-only, so nothing in it should run; should torch fail at that, this process has no network and no secret.
"""

import errno
import json
import pickle
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from sd_api.models.confinement import confine

# Modules of the objects that PyTorch Lightning, which trains Stable Diffusion and DreamBooth, stores with weights.
TRAINING_RECORDS = ("pytorch_lightning.", "lightning.", "lightning_fabric.", "numpy.")

# Words of the errors by which torch says that the system gave it no memory.
_NO_MEMORY = ("allocate memory", "alloc_cpu", "bad_alloc")

_TOO_LARGE = "reading it takes more memory than a file of its size should need"


class _UnfitError(Exception):
    """The file holds something else than weights."""


class _TrainingRecord:
    """A placeholder for an object that a trainer has stored in the file."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def convert(source: Path, target: Path) -> dict[str, str]:
    """Write the tensors of a PyTorch file, such as ``.ckpt``, as safetensors.

    Returns:
        Nothing; or, if the file is not written, ``code``: a name that the file would have imported, or ``problem``.
    """
    try:
        content = _read(source)
        save_file(_tensors(content, source.stat().st_size), target, {"format": "pt", **_numbers(content)})
    except pickle.UnpicklingError as error:
        if foreign := re.search(r"GLOBAL (\S+)", str(error)):
            return {"code": foreign[1]}
        # The message of torch recommends to read the file without this protection.
        return {"problem": "it is not a PyTorch file that holds plain weights"}
    except _UnfitError as error:
        return {"problem": str(error)}
    except MemoryError:
        return {"problem": _TOO_LARGE}
    except Exception as error:
        # A damaged file can raise any exception.
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG):
            return {"problem": "there is no room for its copy as safetensors"}
        text = str(error).split(". ")[0].split("\n")[0]
        exhausted = getattr(error, "errno", None) == errno.ENOMEM or any(word in str(error) for word in _NO_MEMORY)
        return {"problem": _TOO_LARGE if exhausted else f"{type(error).__name__}: {text}"}
    return {}


def _read(path: Path) -> object:
    is_zip = zipfile.is_zipfile(path)
    with path.open("rb") as file:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(file) if is_zip else []
        file.seek(0)
        records = ((_TrainingRecord, name) for name in foreign if name.startswith(TRAINING_RECORDS))
        # By its name, torch would take a pickle that is called .safetensors for what it is not.
        misnamed = path.suffix.lower() == ".safetensors"
        with torch.serialization.safe_globals([*records]):
            return torch.load(
                file if misnamed else path, map_location="cpu", weights_only=True, mmap=is_zip and not misnamed
            )


def _tensors(content: object, file_bytes: int) -> dict[str, torch.Tensor]:
    """The named tensors, each with a memory of its own, as the format needs them."""
    # Checkpoints of trainers, and embeddings of AUTOMATIC1111's web UI.
    for level in ("state_dict", "string_to_param"):
        if isinstance(content, dict) and isinstance(content.get(level), dict):
            content = content[level]
    if not isinstance(content, dict):
        raise _UnfitError("it is not a table of named weights")
    found = {str(name): value.detach() for name, value in _flat(content) if isinstance(value, torch.Tensor)}
    if any(tensor.is_meta or tensor.layout is not torch.strided or tensor.is_quantized for tensor in found.values()):
        raise _UnfitError("it holds tensors that are no plain weights")
    if not found:
        raise _UnfitError("it holds no weights")
    # A tensor may repeat one number of the file a billion times.
    if sum(tensor.nbytes for tensor in found.values()) > 2 * file_bytes:
        raise MemoryError
    seen: set[int] = set()
    for name, tensor in found.items():
        storage = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone(memory_format=torch.contiguous_format) if storage in seen else tensor.contiguous()
        seen.add(storage)
    return found


def _flat(content: dict[object, object]) -> Iterator[tuple[object, object]]:
    """The entries of a table, with those of the two tables of an IP-Adapter by the names that safetensors have."""
    for name, value in content.items():
        if name in ("image_proj", "ip_adapter") and isinstance(value, dict):
            yield from ((f"{name}.{inner}", part) for inner, part in value.items())
        else:
            yield name, value


def _numbers(content: object) -> dict[str, str]:
    """How long a model was trained, which tells the models of one architecture apart."""
    names = ("global_step", "epoch")
    found = {name: content.get(name) for name in names} if isinstance(content, dict) else {}
    return {name: str(value) for name, value in found.items() if type(value) is int and abs(value) < 2**63}


def main() -> None:
    """Convert the file that the arguments name, confined."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    confine(source.stat().st_size)
    json.dump(convert(source, target), sys.stdout)


if __name__ == "__main__":
    main()
