"""Reads the small files of a model and the headers of its weights, all within bounds: they may come from anywhere."""

import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from sd_api.models.allowed_classes import shown

# The largest configurations have some 100 kB; a tokenizer's table of a million entries has 40 MB.
MAX_CONFIG_BYTES = 4 * 1024**2
MAX_VOCABULARY_BYTES = 64 * 1024**2
# The commas and brackets in a JSON text, which bound the memory that its values take.
MAX_VALUES = 5_000_000
MAX_DEPTH = 32

# The largest models have some thousand tensors, of about 100 bytes each in the header.
MAX_HEADER_BYTES = 16 * 1024**2
MAX_TENSORS = 100_000


class FileFaultError(Exception):
    """One file is invalid; the text is the line to report."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


def foreign_files(model: Path, entries: Iterable[Path]) -> Iterator[str]:
    """Find what is no file or folder of the model: links to other places, and devices.

    Args:
        model: the model's directory. In the hub's cache, its files are links to others of the same repository.
        entries: files and folders in it; they need not exist.

    Yields:
        A line for each.
    """
    home = model.resolve()
    if home.parent.name == "snapshots":
        home = home.parents[1]
    for entry in entries:
        target = Path(os.path.realpath(entry))
        if not target.is_relative_to(home):
            yield f"{entry}: a link that leaves the model's folder, to {target}; put the file itself there"
        elif target.exists() and not (target.is_file() or target.is_dir()):
            yield f"{entry}: neither a file nor a folder"


def read_object(path: Path, max_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """Read a file that holds a JSON object.

    Raises:
        FileFaultError: it is missing, of another kind, or larger or deeper than allowed.
    """
    head(path)
    if (size := path.stat().st_size) > max_bytes:
        raise FileFaultError(path, f"it has {size:,} bytes, and such a file has at most {max_bytes:,}")
    content = path.read_bytes()
    if sum(content.count(mark) for mark in (b",", b"[", b"{")) > MAX_VALUES:
        raise FileFaultError(path, f"it holds more than {MAX_VALUES:,} values")
    try:
        # Of the encodings that json would find by itself, the libraries that load the file know only this.
        values = json.loads(content.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise FileFaultError(path, f"not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except UnicodeDecodeError:
        raise FileFaultError(path, "not valid JSON: it is not UTF-8 text") from None
    except ValueError:
        raise FileFaultError(path, "not valid JSON: a number has too many digits") from None
    except RecursionError:
        raise FileFaultError(path, f"it is nested more than {MAX_DEPTH} levels deep") from None
    if not isinstance(values, dict):
        raise FileFaultError(path, "it should hold a JSON object: { … }")
    _check_depth(path, values)
    return values


def check_safetensors(path: Path) -> None:
    """Check the header of a safetensors file, and that it describes exactly the bytes that the file has.

    Raises:
        FileFaultError: it is missing, cut short, of another kind, or its header is larger than allowed.
    """
    # Where the length is that of no header, the library says so without reading it.
    length = min(int.from_bytes(head(path)[:8], "little"), path.stat().st_size)
    if length > MAX_HEADER_BYTES:
        raise FileFaultError(path, f"its header has {length:,} bytes, and it may have {MAX_HEADER_BYTES:,}")
    with path.open("rb") as file:
        header = file.read(8 + length)
    # Each tensor is an object of its own.
    if header.count(b"{") > MAX_TENSORS:
        raise FileFaultError(path, f"its header names more than {MAX_TENSORS:,} tensors")
    try:
        # This compares the length of the file with its header, and the tensors' places with their types and shapes.
        with safe_open(path, framework="numpy") as weights:
            if not weights.keys():
                raise FileFaultError(path, "it holds no weights")
    except SafetensorError as error:
        reason = str(error).rpartition(": ")[2]
        raise FileFaultError(path, f"cut short or damaged ({reason[:200]}); download it again") from None


def head(path: Path) -> bytes:
    """The first bytes of a file, which must be readable and no placeholder for another file.

    Raises:
        FileFaultError: it is not.
    """
    try:
        # A pipe would let the reader wait.
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise FileFaultError(path, "neither a file nor a folder")
        with path.open("rb") as file:
            start = file.read(512)
    except FileNotFoundError:
        raise FileFaultError(path, "this file is missing") from None
    except (OSError, ValueError) as error:
        raise FileFaultError(path, f"it cannot be read: {getattr(error, 'strerror', error)}") from None
    if not start:
        raise FileFaultError(path, "this file is empty; download it again")
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        raise FileFaultError(path, 'a Git LFS pointer instead of the file itself; run "git lfs pull" in its repository')
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise FileFaultError(path, "a web page instead of the file itself; download it again")
    return start


def refuse_answer(path: Path, start: bytes) -> None:
    """Refuse JSON in the place of weights: what a site answers where it wants a login or a payment first.

    Args:
        path: the file.
        start: its first bytes, see ``head``.

    Raises:
        FileFaultError: with what the site said.
    """
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    # A safetensors file begins with the length of its header; as one, the letters of a text are beyond any.
    if text[:1] not in (b"{", b"[") or int.from_bytes(start[:8], "little") <= path.stat().st_size:
        return
    said = shown(text.decode("utf-8", "replace"), 200)
    raise FileFaultError(
        path, f"an answer of a web site instead of the file itself ({said}); download it again, signed in there"
    )


def _check_depth(path: Path, content: object) -> None:
    level = [content]
    for _ in range(MAX_DEPTH):
        nested = [value for value in level if isinstance(value, (dict, list))]
        level = [inner for value in nested for inner in (value.values() if isinstance(value, dict) else value)]
        if not level:
            return
    raise FileFaultError(path, f"it is nested more than {MAX_DEPTH} levels deep")
