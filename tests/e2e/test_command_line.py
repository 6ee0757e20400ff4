"""What ``python server.py`` says when it does not start, and to who only wants to know."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from forked_python import output_of


def run(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(repository / "server.py"), *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def test_help_shows_every_option(repository: Path) -> None:
    result = run(repository, "--help")
    assert result.returncode == 0
    text = " ".join(result.stdout.split())
    defaults = dict(re.findall(r"(--\w+) (?:TEXT|PATH|INTEGER) .*?\[default: \((.*?)\)\]", text))
    assert defaults["--config"].startswith("config.json")
    assert [defaults[option] for option in ("--host", "--port", "--device")] == ["127.0.0.1", "1337", "auto"]
    assert set(defaults) | {"--demo", "--check", "--version", "--help"} == set(re.findall(r" (--\w+) ", text))


def test_a_taken_port_is_named_with_the_way_out(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, output = output_of([sys.executable, str(repository / "server.py"), "--demo", "--port", str(port)])
    assert status == 1
    assert f"port: {port} is in use" in output
    assert "--port" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-name.invalid"])
def test_a_foreign_host_is_explained(repository: Path, host: str) -> None:
    arguments = ["--demo", "--port", "0", "--host", host]
    status, output = output_of([sys.executable, str(repository / "server.py"), *arguments])
    assert status == 1
    assert "is no address of this machine; use 127.0.0.1" in output


def test_a_bad_option_is_named(repository: Path) -> None:
    result = run(repository, "--demo", "--port", "70000", "--device", "toaster")
    assert result.returncode == 1
    assert "--port: " in result.stderr
    assert "--device: " in result.stderr


@pytest.mark.parametrize("arguments", [("--check",), ()])
def test_every_fault_is_reported_at_once_with_its_place(
    repository: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    model = {"model_path": "nowhere", "ui_label": "One", "url_path": "a b"}
    config = tmp_path / "config.json"
    lines = [
        "{",
        '  "hf_tokn": "hf_abcdefghijklmnopqrstuvwxyz",',
        '  "port": "many",',
        f'  "model": {json.dumps(str(tmp_path))},',
        f'  "custom_models": [{json.dumps(model)}]',
        "}",
    ]
    config.write_text("\n".join(lines), encoding="utf-8")
    result = run(repository, *arguments, "--config", str(config))
    assert result.returncode == 1
    faults = result.stderr.splitlines()
    assert [fault.split(", column")[0] for fault in faults] == [f"config.json, line {line}" for line in (2, 3, 4, 5, 5)]
    assert "did you mean hf_token?" in faults[0]
    assert "hf_abcdef" not in result.stderr
    assert "model_index.json" in faults[2]
    assert "nowhere" in faults[3]
    assert "url_path" in faults[4]
