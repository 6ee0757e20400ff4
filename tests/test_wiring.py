"""What the libraries are told before they are imported."""

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="only GNU's OpenMP tells what it has read")
def test_threads_that_wait_give_their_core_away(repository: object) -> None:
    script = "from sd_api.wiring import prepare_libraries; prepare_libraries()"
    command = ["env", "-u", "OMP_WAIT_POLICY", "OMP_DISPLAY_ENV=VERBOSE", sys.executable, "-c", script]
    told = subprocess.run(command, cwd=str(repository), capture_output=True, text=True, check=True).stderr
    assert "GOMP_SPINCOUNT = '0'" in told


IMPORTED = """
import sys
from sd_api.app import create_app
from sd_api.settings import Settings
from sd_api.wiring import build_services

settings = Settings.model_validate({"model": "nobody/nothing", "data": sys.argv[1], **eval(sys.argv[2])})
create_app(settings, build_services(settings))
print(*sorted({"torch", "diffusers", "transformers", "redis", "dramatiq"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("settings", "imported"),
    [({}, ""), ({"cluster": {"redis_url": "redis://127.0.0.1:9"}, "secret_key": "x" * 32}, "dramatiq redis")],
)
def test_no_mode_imports_what_it_does_not_need(
    repository: object, tmp_path: object, settings: object, imported: str
) -> None:
    command = [sys.executable, "-c", IMPORTED, str(tmp_path), repr(settings)]
    told = subprocess.run(command, cwd=str(repository), capture_output=True, text=True, check=True).stdout
    assert told.strip() == imported
