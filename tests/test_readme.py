"""The documents' commands do what they say, and what the documents list is what there is."""

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from PIL import Image
from server_process import ServerProcess

from sd_api.generation.schedulers import SCHEDULERS
from sd_api.settings import Limits, Settings, load_settings
from sd_api.tasks.parameters import PARAMETERS

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    path
    for pattern in ("*.md", "docs/*.md", "deploy/*.md", "tools/*/*.md", "sd_api/**/*.md")
    for path in sorted(REPOSITORY.glob(pattern))
]

# Why a block of commands is not run here; it stands in a comment before the block.
REASONS = (
    "it installs",
    "it downloads the main model",
    "it serves until Ctrl-C",
    "it never ends",
    "it needs Docker",
    "it needs root",
)


@dataclass(frozen=True)
class Block:
    """A block of code in a document, and why it is not run; None if it is."""

    language: str
    text: str
    not_run: str | None


def blocks(document: Path) -> list[Block]:
    """Every block of a document; each says what is in it."""
    text = document.read_text(encoding="utf-8")
    pattern = r"^(?: *<!-- Not run in the tests: ([^\n]*) -->\n)?( *)```(\w*)\n(.*?)^ *```$"
    found = [
        Block(language, textwrap.dedent(content), reason or None)
        for reason, _, language, content in re.findall(pattern, text, re.DOTALL | re.MULTILINE)
    ]
    assert len(found) * 2 == len(re.findall(r"^ *```", text, re.MULTILINE))
    return found


def run(block: Block, server: ServerProcess, folder: Path) -> str:
    """Run a block in a folder, with this server; what it printed."""
    here = block.text.replace("http://127.0.0.1:1337", server.url)
    here = here.replace("server.py", str(REPOSITORY / "server.py")).replace(".venv/bin/python", sys.executable)
    # Small and quick; what the numbers are is not what is tested.
    here = here.replace("num_inference_steps=20", "num_inference_steps=2").replace('"steps": 20', '"steps": 2')
    # As in a terminal, a block goes on after a command that fails; so what counts is how its last one ends.
    command = [sys.executable, "-c", here] if block.language == "python" else ["bash", "-c", here]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
    assert "curl: (" not in done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def server(fork_server: Callable[..., ServerProcess]) -> ServerProcess:
    server = fork_server(enable_signup=True)
    server.wait_until("ready")
    return server


def commands(document: Path) -> list[Block]:
    return [block for block in blocks(document) if block.language in ("sh", "python") and block.not_run is None]


@pytest.mark.parametrize("document", [*filter(commands, DOCUMENTS)], ids=lambda path: path.name)
def test_every_command_of_the_documents_works_twice(document: Path, server: ServerProcess, tmp_path: Path) -> None:
    _, outputs = ([run(block, server, tmp_path) for block in commands(document)] for _ in range(2))
    looks = {"README.md": look_at_the_readme, "tasks.md": look_at_the_tasks, "a1111.md": look_at_a_dog}
    if document.name in looks:
        looks[document.name](tmp_path, outputs)


def look_at_a_dog(folder: Path, outputs: list[str]) -> None:
    with Image.open(folder / "dog.png") as picture:
        assert picture.size == (512, 512)


def look_at_the_readme(folder: Path, outputs: list[str]) -> None:
    assert "The configuration and the models' files are in order." in outputs[1]
    pictures = {}
    for name in ("picture", "redrawn", "masked"):
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.size == (512, 512)
            pictures[name] = picture.convert("RGB")
    assert pictures["redrawn"].tobytes() != pictures["picture"].tobytes()
    left, right = (0, 0, 256, 512), (256, 0, 512, 512)
    assert pictures["masked"].crop(left).tobytes() == pictures["picture"].crop(left).tobytes()
    assert pictures["masked"].crop(right).tobytes() != pictures["picture"].crop(right).tobytes()


def look_at_the_tasks(folder: Path, outputs: list[str]) -> None:
    *_, tasks, program = outputs
    kinds = [task["last_event"]["event_type"] for task in json.loads(tasks)["tasks"]]
    assert kinds == ["cancelled", "finished"] * 2
    with Image.open(folder / "corgi.png") as picture:
        assert picture.size == (512, 512)
    assert "progress" in program
    assert "finished" in program
    assert "'event_type': 'cancelled'" in program


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_block_is_run_or_says_why_not(document: Path) -> None:
    for block in blocks(document):
        assert block.language in ("sh", "python", "json", "yaml", "text"), block.text
        if block.language in ("sh", "python"):
            assert block.not_run is None or block.not_run in REASONS
            # Who only wants to look waits for no download.
            for line in block.text.splitlines() if block.not_run == "it serves until Ctrl-C" else ():
                assert "--demo" in line or not re.search(r"server\.py|sd_api\.worker", line), line
            # An error of the server is seen.
            assert "curl" not in block.text or not re.search(r"--fail\s|--silent (?!--show-error)", block.text)
        elif block.language == "text":
            assert not re.search(r"^(\w+=\S+ )*(\S*python|\S*pip|curl|make|docker|git|conda|sudo)\b", block.text, re.M)
        else:
            assert yaml.safe_load(block.text)


def test_the_configurations_of_the_documents_are_valid(tmp_path: Path) -> None:
    found = [
        block.text
        for document in ("README.md", "deploy/README.md")
        for block in blocks(REPOSITORY / document)
        if block.language == "json" and '"status"' not in block.text
    ]
    assert len(found) >= 3
    for configuration in found:
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
    pages = ("api.md", "tasks.md", "openai.md", "a1111.md")
    text, *others = ((repository / "docs" / name).read_text(encoding="utf-8") for name in pages)
    for name in SCHEDULERS:
        assert f"`{name}`" in text
    for rule in app.url_map.iter_rules():  # type: ignore[attr-defined]
        if rule.endpoint != "studio.swagger_ui":
            # A row has one path of A1111's API whole, and then the names of others.
            assert rule.rule.replace("<path:", "<").replace("<int:", "<").removeprefix("/sdapi/v1/") in text + "".join(
                others
            )


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
