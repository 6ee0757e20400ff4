"""The README's commands do what it says, and what the documents list is what there is."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from server_process import ServerProcess

from sd_api.generation.schedulers import SCHEDULERS
from sd_api.settings import Limits, Settings, load_settings


def blocks(document: Path, language: str) -> list[str]:
    """The code blocks of one language."""
    text = document.read_text(encoding="utf-8")
    return [block.replace("\n   ", "\n") for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


def test_every_shell_command_of_the_readme_works(
    repository: Path, tmp_path: Path, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    server.wait_until("ready")
    commands = blocks(repository / "README.md", "sh")
    assert sum("curl" in command for command in commands) >= 4
    for command in commands:
        here = command.replace("http://127.0.0.1:1337", server.url)
        here = here.replace("server.py", str(repository / "server.py"))
        here = here.replace(".venv/bin/python", sys.executable)
        # Small and quick; what the numbers are is not what is tested.
        here = here.replace("num_inference_steps=20", "num_inference_steps=2")
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", here],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, f"{command}\n{result.stderr}"
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (512, 512)
    assert json.loads((tmp_path / "answer.json").read_text())["status"] == "success"


def test_the_readmes_configurations_are_valid(repository: Path, tmp_path: Path) -> None:
    configurations = [block for block in blocks(repository / "README.md", "json") if '"status"' not in block]
    assert len(configurations) >= 2
    for configuration in configurations:
        path = tmp_path / "config.json"
        path.write_text(configuration, encoding="utf-8")
        load_settings(path, environment={})


@pytest.mark.parametrize("target", ["run", "setup", "test"])
def test_the_make_targets_exist(repository: Path, target: str) -> None:
    result = subprocess.run(["make", "-n", target], cwd=repository, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_setting_is_documented_with_its_default(repository: Path) -> None:
    text = (repository / "docs" / "configuration.md").read_text(encoding="utf-8")
    for name in Settings.model_fields:
        assert f"| `{name}` |" in text
    for name, value in Limits():
        (row,) = (line for line in text.splitlines() if f"`{name}`" in line)
        assert f"| {value} |" in row


def test_every_scheduler_and_path_is_documented(repository: Path, app: object) -> None:
    text = (repository / "docs" / "api.md").read_text(encoding="utf-8")
    for name in SCHEDULERS:
        assert f"`{name}`" in text
    for rule in app.url_map.iter_rules():  # type: ignore[attr-defined]
        assert rule.rule.replace("<path:", "<") in text


def test_every_link_between_the_documents_leads_somewhere(repository: Path) -> None:
    for document in [*repository.glob("*.md"), *repository.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
