"""One list of dependencies: whatever way the server is installed, it gets the same set."""

import ast
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return loaded


def conda_file(repository: Path, name: str) -> tuple[dict[str, str], list[str]]:
    """The conda packages with their versions, and the lines for pip."""
    loaded = yaml.safe_load((repository / name).read_text(encoding="utf-8"))
    assert loaded["name"] == "sd-api-server"
    assert loaded["channels"] == ["conda-forge"]
    lines = [line for line in loaded["dependencies"] if isinstance(line, str)]
    packages = {line.partition("=")[0]: line.partition("=")[2] for line in lines}
    (pip,) = (line["pip"] for line in loaded["dependencies"] if isinstance(line, dict))
    return packages, pip


@pytest.mark.parametrize("name", ["environment.yaml", "environment-m1.yaml"])
def test_conda_files_take_everything_from_pyproject(repository: Path, project: dict[str, Any], name: str) -> None:
    packages, pip = conda_file(repository, name)
    assert pip == ["--constraint constraints.txt", "--editable ."]
    assert set(packages) <= {"python", "pip", "pytorch-gpu"}
    assert packages["python"] in SpecifierSet(project["requires-python"])


def test_conda_brings_the_cuda_build_of_the_torch_that_pyproject_wants(
    repository: Path, project: dict[str, Any]
) -> None:
    packages, _ = conda_file(repository, "environment.yaml")
    (torch,) = (line for line in map(Requirement, project["dependencies"]) if line.name == "torch")
    # conda-forge numbers its builds like 2.13.0.post300, which pip must take for good.
    assert packages["pytorch-gpu"].replace("*", "0.post300") in torch.specifier


def test_every_dependency_is_pinned_within_its_range(repository: Path, project: dict[str, Any]) -> None:
    pins = {}
    for line in (repository / "constraints.txt").read_text(encoding="utf-8").splitlines():
        pin = Requirement(line)
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        # Torch's pin takes in the builds of that version, such as 2.13.0+cpu and conda's 2.13.0.post300.
        pins[re.sub(r"[-_.]+", "-", pin.name).lower()] = specifier.version.removesuffix(".*")
    extras = project["optional-dependencies"]
    pinned = [line for extra in extras if extra != "train" for line in extras[extra]]
    wanted = [*project["dependencies"], *pinned]
    for requirement in map(Requirement, wanted):
        assert pins[re.sub(r"[-_.]+", "-", requirement.name).lower()] in requirement.specifier


def test_every_way_to_start_wants_the_same_python(repository: Path, project: dict[str, Any]) -> None:
    (needed,) = SpecifierSet(project["requires-python"])
    oldest = tuple(map(int, needed.version.split(".")))
    for name in ("Makefile", "server.py"):
        text = (repository / name).read_text(encoding="utf-8")
        assert f"sys.version_info < {oldest}" in text
        assert f"Python {needed.version} or newer is needed" in text
    # An old Python reads the whole file before it gets to the message.
    ast.parse((repository / "server.py").read_text(encoding="utf-8"), feature_version=(3, 4))


def test_running_installs_no_tools_of_the_tests(repository: Path) -> None:
    planned = {
        target: subprocess.run(
            ["make", "-n", f"VENV={os.devnull}", target], cwd=repository, capture_output=True, text=True, check=True
        ).stdout
        for target in ("run", "test")
    }
    assert "[cluster]" in planned["run"]
    assert "dev" not in planned["run"].replace(os.devnull, "")
    assert "[cluster,dev]" in planned["test"]
