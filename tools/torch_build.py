"""Installs the build of torch that fits this machine; ``make setup`` calls it before pip installs all the rest.

    python tools/torch_build.py [auto | cpu | default | URL]

``auto`` looks for a graphics card, ``cpu`` is the build without one, ``default`` leaves the choice to pip's own index,
and a URL is any other index with torch on it. On Linux, pip's usual index has torch with CUDA, which takes gigabytes
whether or not there is a card for it.

Only Python's own library is used, because nothing is installed yet.
"""

import platform
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

INDEXES = "https://download.pytorch.org/whl"
WISHES = ("auto", "cpu", "default")
CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"

# Seconds that an index has to answer in.
PATIENCE = 5

# Of the server with everything that it needs.
SMALL = "about 0.5 GB to download, 1.5 GB on the disk; allow 5 minutes"
LARGE = "about 3.5 GB to download, 8 GB on the disk; allow 15 minutes"


@dataclass(frozen=True)
class Machine:
    """What the choice depends on.

    Attributes:
        system: ``Linux``, ``Darwin`` or ``Windows``.
        nvidia: Whether the driver of an NVIDIA card is there.
        rocm: The version of AMD's ROCm, such as ``7.1``; empty where it is unknown, None without an AMD card.
    """

    system: str
    nvidia: bool
    rocm: str | None


@dataclass(frozen=True)
class Build:
    """A build of torch.

    Attributes:
        text: What it is and why it is chosen.
        index: Where it is; None is the index that pip is configured with.
        size: What installing takes.
    """

    text: str
    index: str | None
    size: str


def look() -> Machine:
    """Find out what is in this machine."""
    rocm = None
    if Path("/dev/kfd").exists():
        file = Path("/opt/rocm/.info/version")
        found = re.match(r"\d+\.\d+", file.read_text(encoding="utf-8")) if file.is_file() else None
        rocm = found.group() if found else ""
    nvidia = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    return Machine(platform.system(), nvidia, rocm)


def choose(wish: str, machine: Machine) -> Build:
    """Choose a build.

    Args:
        wish: See the text of this module.
        machine: Where it shall run.
    """
    if wish == "cpu":
        return Build("for the processor, as TORCH says", f"{INDEXES}/cpu", SMALL)
    if wish == "default":
        return Build("from the index of pip, as TORCH says", None, LARGE if machine.system == "Linux" else SMALL)
    if wish != "auto":
        return Build("from the index that TORCH names", wish, LARGE)
    if machine.system == "Darwin":
        return Build("for this Mac", None, SMALL)
    if machine.system == "Windows":
        card = "; it does not use the NVIDIA card: for that, see Conda in the README" if machine.nvidia else ""
        return Build(f"for the processor{card}", None, SMALL)
    if machine.nvidia:
        return Build("with CUDA, because there is an NVIDIA card", None, LARGE)
    if machine.rocm:
        return Build(f"with ROCm {machine.rocm}, because there is an AMD card", f"{INDEXES}/rocm{machine.rocm}", LARGE)
    why = "no graphics card is found" if machine.rocm is None else "there is an AMD card, but no ROCm in /opt/rocm"
    return Build(f"for the processor, because {why}", f"{INDEXES}/cpu", SMALL)


def answers(index: str) -> bool:
    """Whether an index can be reached, and has torch."""
    try:
        with urllib.request.urlopen(f"{index.rstrip('/')}/torch/", timeout=PATIENCE):
            return True
    except (OSError, ValueError, urllib.error.URLError):
        return False


def first_reachable(builds: Sequence[Build]) -> Build:
    """The first build whose index can be reached; else the one of pip's own index."""
    for build in builds:
        if build.index is None or answers(build.index):
            return build
        print(f"{build.index} cannot be reached or has no torch.")
    return Build("from the index that pip is configured with", None, f"{SMALL}; if that has CUDA, {LARGE}")


def is_installed() -> bool:
    """Whether the version of torch that the constraints name is there, in whichever build."""
    wanted: str
    (wanted,) = re.findall(r"^torch==(.+?)\.\*$", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
    try:
        return version("torch").partition("+")[0] == wanted
    except PackageNotFoundError:
        return False


def main(wish: str) -> None:
    """Say what is chosen, and install it, unless pip's own index has it."""
    if wish not in WISHES and "://" not in wish:
        sys.exit(f"TORCH is {wish!r}; it must be {', '.join(WISHES)} or the URL of an index.")
    if is_installed():
        return
    chosen = choose(wish, look())
    instead = [Build("for the processor, because there is none for this ROCm", f"{INDEXES}/cpu", SMALL)]
    # CUDA, which pip's own index has, would be of no use to an AMD card.
    build = first_reachable([chosen, *(instead if "/rocm" in (chosen.index or "") else [])])
    print(f"Torch: {build.text}.")
    print(f"With all the rest: {build.size}.")
    print("Another one: delete .venv, then make TORCH=cpu, TORCH=default or TORCH=<the URL of an index>.", flush=True)
    if build.index is None:
        return
    # The Makefile compiles everything at the end.
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile", "--no-deps"]
    command += ["--constraint", str(CONSTRAINTS), "--index-url", build.index, "torch"]
    if subprocess.run(command, check=False).returncode:
        print("That failed; torch comes from the index that pip is configured with.", flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "auto")
