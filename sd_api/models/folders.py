"""The folders with models: each kind has sub-folders of its own, as other programs have them; knows no torch."""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import Self

from sd_api.settings import Settings

# Entries of a folder that are looked at; one has some hundreds.
MAX_SEEN = 20_000

# Seconds of processor time from which a look is kept, and for how many times as long: so clients that ask again and
# again make a folder of thousands of files cost a tenth of one core.
_COSTLY, _KEPT = 0.02, 10

# Names that are listed where one is not there.
_LISTED = 20


@dataclass(frozen=True)
class Kind:
    """What is in one sub-folder of a tree of models.

    Attributes:
        name: What it is called, in the singular.
        folders: The sub-folders' names in lower case, ours first, then other programs'.
        suffixes: Those of its files.
        marker: The file that makes one entry of a whole folder, as diffusers writes it; None where files are all.
    """

    name: str
    folders: tuple[str, ...]
    suffixes: tuple[str, ...] = (".safetensors",)
    marker: str | None = None


CHECKPOINT = Kind(
    "checkpoint",
    ("checkpoints", "stable-diffusion", "diffusion_models", "unet"),
    (".safetensors", ".sft", ".ckpt", ".gguf"),
    "model_index.json",
)
LORA = Kind("LoRA", ("loras", "lora", "lycoris"))
EMBEDDING = Kind("embedding", ("embeddings",), (".safetensors", ".pt", ".bin"))
VAE = Kind("VAE", ("vae",), (".safetensors", ".sft", ".pt", ".ckpt", ".bin"), "config.json")
CONTROLNET = Kind(
    "ControlNet", ("controlnet", "t2i_adapter"), (".safetensors", ".pth", ".pt", ".bin", ".ckpt"), "config.json"
)
IP_ADAPTER = Kind("IP-Adapter", ("ip-adapter", "ipadapter", "ip_adapter"), (".safetensors", ".bin"))
IMAGE_ENCODER = Kind("image encoder", ("clip_vision", "image_encoder"), (".safetensors",), "config.json")

KINDS = (CHECKPOINT, LORA, EMBEDDING, VAE, CONTROLNET, IP_ADAPTER, IMAGE_ENCODER)


@dataclass(frozen=True)
class FoundFile:
    """A model on this machine, in the state in which it was found.

    Attributes:
        name: By which requests name it: its path below its kind's folder, without the suffix.
        path: The file, or the folder where one is an entry as a whole.
        modified: When, in nanoseconds; of a folder the latest of its files.
        size: In bytes; of a folder that of all its files.
    """

    name: str
    path: Path
    modified: int
    size: int


class ModelFolders:
    """Where models of each kind are; what is new there is found at the next look, of many files some seconds later.

    A request's name is compared with the names that are there and never becomes a path. Links are followed, because
    who may write into these folders decides what is served; each folder is looked into once, so circles end.

    Args:
        own: Folders of one kind each, looked into first.
        trees: Folders with the sub-folders of ``KINDS``, or with those in a folder ``models``, in their order. Where
            several have a name, the first one's counts.
    """

    def __init__(self, own: Mapping[Kind, Sequence[Path]] | None = None, trees: Sequence[Path] = ()) -> None:
        self._own = own or {}
        self._trees = trees
        # The latest costly look of each kind, and until when it is kept.
        self._kept: dict[Kind, tuple[float, list[FoundFile]]] = {}
        self._looking = threading.Lock()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of a configuration."""
        own = {LORA: settings.loras, EMBEDDING: settings.embeddings}
        trees = (*((settings.models_folder,) if settings.models_folder else ()), *settings.extra_model_paths)
        return cls({kind: (folder,) for kind, folder in own.items() if folder is not None}, trees)

    def files(self, kind: Kind) -> list[FoundFile]:
        """All models of a kind, by name."""
        with self._looking:
            until, kept = self._kept.get(kind, (0.0, []))
            if time.monotonic() < until:
                return list(kept)
            started = time.thread_time()
            found = self._look(kind)
            cost = time.thread_time() - started
            if cost > _COSTLY:
                self._kept[kind] = time.monotonic() + cost * _KEPT, found
            else:
                self._kept.pop(kind, None)
            return list(found)

    def find(self, kind: Kind, name: str) -> FoundFile | None:
        """The model of a name, which is its path or, where only one has it, its file's name in any case of letters."""
        files = self.files(kind)
        wanted = next((name.removesuffix(suffix) for suffix in kind.suffixes if name.endswith(suffix)), name)
        if (exact := next((file for file in files if file.name == wanted), None)) is not None:
            return exact
        alike = [file for file in files if file.name.rpartition("/")[2].casefold() == wanted.casefold()]
        return alike[0] if len(alike) == 1 else None

    def _look(self, kind: Kind) -> list[FoundFile]:
        found: dict[str, FoundFile] = {}
        for folder in self._folders(kind):
            for file in sorted(_files(folder, kind), key=lambda file: file.path):
                found.setdefault(file.name, file)
        return sorted(found.values(), key=lambda file: file.name)

    def _folders(self, kind: Kind) -> Iterator[Path]:
        yield from self._own.get(kind, ())
        for tree in self._trees:
            for parent in (tree, tree / "models"):
                inside = {entry.name.lower(): Path(entry.path) for entry in _entries(parent)}
                yield from (inside[name] for name in kind.folders if name in inside)


def missing(folders: ModelFolders, kind: Kind) -> str:
    """What a refusal says after the name of a model that is not there."""
    names = [file.name for file in folders.files(kind)]
    return f"; there are: {listed(names)}" if names else f"; this server has no {kind.name}"


def listed(names: Sequence[str], most: int = _LISTED) -> str:
    """The first of some names in a sentence, ``most`` of them, and how many more there are."""
    more = "" if len(names) <= most else f" and {len(names) - most} more"
    return ", ".join(names[:most]) + more if names else "none"


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(islice(entries, MAX_SEEN), key=lambda entry: entry.name)
    except OSError:
        return []


def _files(top: Path, kind: Kind) -> Iterator[FoundFile]:
    # With the beginning of the names below each; names are put together as texts, because there may be many.
    waiting, seen, count = [(str(top), "")], set(), 0
    while waiting and count < MAX_SEEN:
        folder, begin = waiting.pop()
        if (real := os.path.realpath(folder)) in seen:
            continue
        seen.add(real)
        entries = [entry for entry in _entries(folder) if _is_shown(entry.name)]
        count += len(entries)
        if begin and any(entry.name == kind.marker for entry in entries):
            whole, looked_at = _whole_folder(Path(folder), begin[:-1])
            count += looked_at
            yield whole
            continue
        for entry in entries:
            try:
                if entry.is_dir():
                    waiting.append((entry.path, f"{begin}{entry.name}/"))
                    continue
                stem, suffix = os.path.splitext(entry.name)
                if suffix.lower() in kind.suffixes:
                    state = entry.stat()
                    yield FoundFile(begin + stem, Path(entry.path), state.st_mtime_ns, state.st_size)
            except OSError:
                # A link to nothing, or a file that has just gone.
                continue


def _whole_folder(folder: Path, name: str) -> tuple[FoundFile, int]:
    """A folder that is one model, and how many entries were looked at."""
    modified = size = count = 0
    for path in islice(folder.rglob("*"), MAX_SEEN):
        count += 1
        try:
            state = path.stat()
        except OSError:
            # A link to nothing, or a file that has just gone.
            continue
        if S_ISREG(state.st_mode):
            modified, size = max(modified, state.st_mtime_ns), size + state.st_size
    return FoundFile(name, folder, modified, size), count


def _is_shown(name: str) -> bool:
    """Whether a name can be shown and sent; hidden ones belong to other programs."""
    return name.isprintable() and not name.startswith(".")
