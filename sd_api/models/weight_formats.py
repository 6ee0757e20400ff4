"""Which format a file of weights has: its content says it, whatever its name is."""

import logging
from os import SEEK_END
from pathlib import Path
from typing import Literal
from zipfile import is_zipfile

from sd_api.models.bounded_files import FileFaultError, check_safetensors, head, refuse_answer
from sd_api.models.gguf_header import GGUF_MAGIC, check_gguf

log = logging.getLogger(__name__)

WeightFormat = Literal["safetensors", "pickle", "gguf"]

_ZIP_MAGIC = b"PK\x03\x04"
# The table of contents at the end of a zip archive has about 80 bytes for each tensor.
_ZIP_CONTENTS_BYTES = 4 * 1024**2
# The number 0x1950A86A20F9469CFC6C, pickled: the head of the files of torch.save before they became zip archives.
_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_PICKLE_MAGIC = b"\x80"
_PICKLED_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth")
# Other things that people download, by their beginnings.
_OTHERS = {
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x89HDF": "a Keras file",
}


def format_of(path: Path) -> WeightFormat:
    """The format of a file of weights, by its first bytes.

    Raises:
        FileFaultError: it is missing, or of another kind.
    """
    start = head(path)
    refuse_answer(path, start)
    if start.startswith(GGUF_MAGIC):
        return "gguf"
    if start.startswith((_ZIP_MAGIC, _LEGACY_MAGIC)):
        return "pickle"
    for magic, name in _OTHERS.items():
        if start.startswith(magic):
            raise FileFaultError(path, f"{name} instead of weights")
    if start[8:9] != b"{" and (path.suffix.lower() in _PICKLED_SUFFIXES or start.startswith(_PICKLE_MAGIC)):
        raise FileFaultError(path, "not a file of PyTorch weights")
    return "safetensors"


def check_weights(path: Path) -> WeightFormat:
    """Check that a file of weights is whole, and return its format.

    Of pickled weights only the container is looked at: what is pickled is read in a process of its own.

    Raises:
        FileFaultError: it is missing, damaged or of another kind.
    """
    found = format_of(path)
    if found == "safetensors":
        check_safetensors(path)
    elif found == "gguf":
        check_gguf(path)
    else:
        _check_pickle(path)
    return found


def check_named_weights(path: Path) -> None:
    """Check a file that the libraries open by themselves: there the ending of its name has to say what it is.

    Raises:
        FileFaultError: it is damaged, or its content is of another format than its name says.
    """
    named: WeightFormat = "safetensors" if path.suffix.lower() == ".safetensors" else "pickle"
    found = check_weights(path)
    if found != named:
        raise FileFaultError(path, f"{_NAMES[found]}, which its name does not say; rename it, or get the right file")


_NAMES: dict[WeightFormat, str] = {
    "safetensors": "it holds safetensors",
    "pickle": "it holds pickled weights of PyTorch",
    "gguf": "it holds GGUF",
}


def _check_pickle(path: Path) -> None:
    if head(path).startswith(_ZIP_MAGIC):
        if not is_zipfile(path):
            raise FileFaultError(path, "cut short or damaged; download it again")
        with path.open("rb") as file:
            file.seek(-min(_ZIP_CONTENTS_BYTES, path.stat().st_size), SEEK_END)
            if b"data.pkl" not in file.read():
                raise FileFaultError(path, "a zip archive of something else than weights")
    log.info("%s holds pickled weights; only tensors are taken from it, code is refused", path)
