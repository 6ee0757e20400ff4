"""What is set for the libraries before they are imported."""

import subprocess
import sys
from pathlib import Path

import pytest
from redis_server import RedisServer


@pytest.mark.skipif(sys.platform != "linux", reason="only GNU's OpenMP tells what it has read")
def test_threads_that_wait_give_their_core_away(repository: object) -> None:
    script = "from sd_api.models.libraries import import_libraries; import_libraries()"
    command = ["env", "-u", "OMP_WAIT_POLICY", "OMP_DISPLAY_ENV=VERBOSE", sys.executable, "-c", script]
    printed = subprocess.run(command, cwd=str(repository), capture_output=True, text=True, check=True).stderr
    assert "GOMP_SPINCOUNT = '0'" in printed


IMPORTED = """
import sys
from sd_api.app import create_app
from sd_api.settings import Settings
from sd_api.wiring import build_services

settings = Settings.model_validate({"model": "nobody/nothing", "data": sys.argv[1], **eval(sys.argv[2])})
create_app(settings, build_services(settings))
print(*sorted({"torch", "diffusers", "transformers", "redis", "dramatiq"} & set(sys.modules)))
"""


def imported(folder: Path, **settings: object) -> str:
    command = [sys.executable, "-c", IMPORTED, str(folder / "data"), repr(settings)]
    repository = Path(__file__).resolve().parent.parent
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout.strip()


def test_a_command_writes_its_first_line_before_it_imports_what_takes_long() -> None:
    slow = "{'flask', 'numpy', 'redis', 'sqlalchemy', 'torch', 'uvicorn'}"
    script = f"import sys, sd_api.server, sd_api.worker; print({slow} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_one_process_imports_nothing_of_a_cluster_and_opens_its_port_before_torch(tmp_path: Path) -> None:
    assert imported(tmp_path) == ""


def test_a_server_of_a_cluster_never_imports_torch(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    try:
        assert imported(tmp_path, cluster={"redis_url": redis.url}) == "dramatiq redis"
    finally:
        redis.stop()
