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
