"""The files to deploy with: valid by their own linters, closed by default, and without secrets."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

COMPOSE_FILES = ("compose.yaml", "compose.cuda.yaml")
UNITS = ("sd-api-server.service", "sd-api-worker@.service")
# What systemd takes off for each hole in a unit's walls; beyond 5 it speaks of "medium".
MOST_EXPOSED = "25"


def passes(*command: str) -> str:
    """What a command that ends well has complained of."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def compose(repository: Path) -> Any:
    return yaml.safe_load((repository / "deploy" / "compose.yaml").read_text(encoding="utf-8"))


def test_the_dockerfile_passes_its_linter(repository: Path) -> None:
    passes(str(Path(sys.executable).with_name("hadolint")), str(repository / "Dockerfile"))


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_compose_files_are_valid(repository: Path, name: str) -> None:
    path = str(repository / "deploy" / name)
    passes(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path)


def test_an_image_gets_what_it_copies_and_no_secrets(repository: Path) -> None:
    ignored, *allowed = (
        line
        for line in (repository / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert ignored == "*"
    copied = set()
    for line in (repository / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("COPY") and "--from" not in line:
            copied |= set(line.split()[1:-1])
    for name in copied:
        assert (repository / name).exists(), name
        assert any(name == entry[1:] or name.startswith(f"{entry[1:]}/") for entry in allowed), name
    assert not {"config.json", ".env", "deploy/.env"} & {entry[1:] for entry in allowed}


def test_an_image_runs_as_nobody_in_particular(repository: Path) -> None:
    lines = (repository / "Dockerfile").read_text(encoding="utf-8").splitlines()
    (user,) = (line.split()[1] for line in lines if line.startswith("USER"))
    assert user == "10001:10001"


def test_a_cluster_is_closed_by_default(compose: Any) -> None:
    services = compose["services"]
    assert "ports" not in services["redis"] | services["worker"]
    assert all(port.startswith("127.0.0.1:") for port in services["api"]["ports"])
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        for name, value in service["environment"].items():
            assert value.startswith("${"), f"{name} stands in the file itself"
        assert service["environment"]["REDIS_PASSWORD"].startswith("${REDIS_PASSWORD:?")


def test_a_cluster_has_five_workers_and_checks_its_health(compose: Any) -> None:
    services = compose["services"]
    assert services["worker"]["deploy"]["replicas"] == "${SD_WORKERS:-5}"
    assert services["api"]["healthcheck"]["test"][:3] == ["CMD", "python", "deploy/healthcheck.py"]
    assert "ping" in services["redis"]["healthcheck"]["test"][1]
    assert services["api"]["depends_on"]["redis"]["condition"] == "service_healthy"


@pytest.mark.parametrize("name", UNITS)
def test_units_are_valid_and_walled_in(repository: Path, tmp_path: Path, name: str) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd here")
    text = (repository / "deploy" / name).read_text(encoding="utf-8")
    assert "/opt/sd-api-server/.venv/bin/python" in text
    # Where the unit expects its files there are none here.
    unit = tmp_path / name
    unit.write_text(text.replace("/opt/sd-api-server/.venv/bin/python", sys.executable), encoding="utf-8")
    # It speaks of other units of this machine, too.
    assert "sd-api" not in passes(analyze, "verify", "--man=no", str(unit))
    passes(analyze, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(unit))
