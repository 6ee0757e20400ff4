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
from sd_api.tasks.parameters import PARAMETERS

REPOSITORY = Path(__file__).resolve().parent.parent


def blocks(document: Path, language: str) -> list[str]:
    """The code blocks of one language."""
    text = document.read_text(encoding="utf-8")
    return [block.replace("\n   ", "\n") for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


def run_commands(document: Path, server: ServerProcess, folder: Path) -> list[str]:
    """Run a document's shell commands in a folder, with this server; what each printed."""
    outputs = []
    for command in blocks(document, "sh"):
        here = command.replace("http://127.0.0.1:1337", server.url)
        here = here.replace("server.py", str(REPOSITORY / "server.py"))
        here = here.replace(".venv/bin/python", sys.executable)
        # Small and quick; what the numbers are is not what is tested.
        here = here.replace("num_inference_steps=20", "num_inference_steps=2").replace('"steps": 20', '"steps": 2')
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", here],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, f"{command}\n{result.stderr}"
        outputs.append(result.stdout)
    return outputs


def test_every_shell_command_of_the_readme_works(
    repository: Path, tmp_path: Path, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    server.wait_until("ready")
    assert len(run_commands(repository / "README.md", server, tmp_path)) >= 4
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (512, 512)
    assert json.loads((tmp_path / "answer.json").read_text())["status"] == "success"


def test_the_walk_throughs_of_the_task_server_work(
    repository: Path, tmp_path: Path, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server(enable_signup=True)
    server.wait_until("ready")
    *_, last = run_commands(repository / "docs" / "tasks.md", server, tmp_path)
    kinds = [task["last_event"]["event_type"] for task in json.loads(last)["tasks"]]
    assert kinds == ["cancelled", "finished"]
    picture = (tmp_path / "corgi.png").read_bytes()

    (program,) = blocks(repository / "docs" / "tasks.md", "python")
    here = program.replace("http://127.0.0.1:1337", server.url).replace('"steps": 20', '"steps": 2')
    result = subprocess.run(
        [sys.executable, "-c", here], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "progress" in result.stdout
    assert "finished" in result.stdout
    assert "'event_type': 'cancelled'" in result.stdout
    assert (tmp_path / "corgi.png").read_bytes() != picture


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
    text, tasks = ((repository / "docs" / name).read_text(encoding="utf-8") for name in ("api.md", "tasks.md"))
    for name in SCHEDULERS:
        assert f"`{name}`" in text
    for rule in app.url_map.iter_rules():  # type: ignore[attr-defined]
        if rule.endpoint != "swagger_ui.show" or rule.rule == "/docs/":
            assert rule.rule.replace("<path:", "<") in text + tasks


def test_every_parameter_of_a_task_is_documented_with_its_default(repository: Path) -> None:
    text = (repository / "docs" / "tasks.md").read_text(encoding="utf-8")
    for model in PARAMETERS.values():
        for name, field in model.model_fields.items():
            (row,) = (
                line for line in text.splitlines() if line.startswith("| `") and f"`{name}`" in line.split("|")[1]
            )
            if isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
                assert f", {field.default:g} |" in row


def test_every_link_between_the_documents_leads_somewhere(repository: Path) -> None:
    for document in [*repository.glob("*.md"), *repository.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
