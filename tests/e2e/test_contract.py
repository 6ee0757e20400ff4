"""What the description allows, and what it forbids, is asked of a real server; what comes back is what it promises."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import requests
from task_session import TaskSession

# What is asked of each endpoint, at most; about a minute in all.
EXAMPLES = 2


def test_the_server_keeps_what_its_description_promises(fork_server: Any, tmp_path: Path) -> None:
    server = fork_server(
        enable_public_token=True,
        enable_signup=True,
        any_model=False,
        # So that what is valid is quick.
        limits={"max_width": 64, "max_height": 64, "max_num_inference_steps": 2, "max_num_outputs": 2},
    )
    server.wait_until("ready")
    ann = TaskSession(server.url)
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
    command += ["run", f"{server.url}/openapi.json", "--header", f"Authorization: Bearer {ann.token}"]
    # What is valid by the description may be outside the configuration's limits, or no image: so not all is accepted.
    command += ["--checks", "all", "--exclude-checks", "positive_data_acceptance"]
    command += ["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(EXAMPLES), "--seed", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert requests.get(f"{server.url}/health", timeout=10).json()["status"] == "ready"
    assert "Unexpected error" not in server.output
