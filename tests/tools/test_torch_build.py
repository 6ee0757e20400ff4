"""Which torch is installed follows from the machine, and an index that is away is no reason to stop."""

import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tools.torch_build import INDEXES, Build, Machine, choose, first_reachable, main


@pytest.mark.parametrize(
    ("wish", "machine", "index", "text"),
    [
        ("auto", Machine("Linux", nvidia=False, rocm=None), f"{INDEXES}/cpu", "for the processor"),
        ("auto", Machine("Linux", nvidia=True, rocm=None), None, "with CUDA"),
        ("auto", Machine("Linux", nvidia=False, rocm="7.1"), f"{INDEXES}/rocm7.1", "with ROCm 7.1"),
        ("auto", Machine("Linux", nvidia=False, rocm=""), f"{INDEXES}/cpu", "no ROCm in /opt/rocm"),
        ("auto", Machine("Darwin", nvidia=False, rocm=None), None, "for this Mac"),
        ("auto", Machine("Windows", nvidia=True, rocm=None), None, "Conda"),
        ("cpu", Machine("Linux", nvidia=True, rocm=None), f"{INDEXES}/cpu", "for the processor"),
        ("default", Machine("Linux", nvidia=False, rocm=None), None, "from the index of pip"),
        ("https://a.example/whl", Machine("Linux", nvidia=False, rocm=None), "https://a.example/whl", "TORCH names"),
    ],
)
def test_the_build_follows_from_the_machine(wish: str, machine: Machine, index: str | None, text: str) -> None:
    build = choose(wish, machine)
    assert build.index == index
    assert text in build.text


@pytest.mark.parametrize("wish", ["cuda", "download.pytorch.org/whl/cpu", ""])
def test_a_wish_that_is_none_is_refused(wish: str) -> None:
    with pytest.raises(SystemExit, match=f"^TORCH is '{wish}'; it must be auto, cpu, default or the URL of an index.$"):
        main(wish)


def test_a_card_whose_build_is_away_runs_on_the_processor(index: str) -> None:
    builds = [Build("with ROCm", "http://127.0.0.1:9", "much"), Build("for the processor", index, "little")]
    assert first_reachable(builds) == builds[1]


def install(repository: Path, index: str, target: Path) -> str:
    """What installing torch from an index prints, where none is installed yet."""
    # Without the module site, nothing that is installed is seen; pip itself is called with it.
    command = [sys.executable, "-S", str(repository / "tools" / "torch_build.py"), index]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    environment |= {"PIP_TARGET": str(target), "PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """An index with a torch that has nothing in it."""
    folder = tmp_path / "index"
    (folder / "torch").mkdir(parents=True)
    info = "torch-2.13.0+test.dist-info"
    with zipfile.ZipFile(folder / "torch" / "torch-2.13.0+test-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0+test\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_build_is_installed_from_the_index_that_is_chosen(repository: Path, index: str, tmp_path: Path) -> None:
    printed = install(repository, index, tmp_path / "target")
    assert "Torch: from the index that TORCH names." in printed
    assert "GB to download" in printed.partition("Looking in indexes")[0]
    assert (tmp_path / "target" / "torch-2.13.0+test.dist-info").is_dir()


def test_an_index_that_is_away_is_named_and_left_out(repository: Path, tmp_path: Path) -> None:
    printed = install(repository, "http://127.0.0.1:9", tmp_path / "target")
    assert "http://127.0.0.1:9 cannot be reached or has no torch." in printed
    assert "Torch: from the index that pip is configured with." in printed
    assert not (tmp_path / "target").exists()
