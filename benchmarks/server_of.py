"""A server as a process of its own, with the built-in model on the processor."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent


class Server(NamedTuple):
    """A server that answers at a URL, and the id of its process."""

    url: str
    process: int


@contextmanager
def server_of(checkout: Path, environment: Mapping[str, str] | None = None, **settings: Any) -> Iterator[Server]:
    """A checkout's server; it is killed when the block ends.

    Args:
        checkout: The folder with ``server.py``; its packages are imported, whichever is installed.
        environment: Beside that of this process.
        settings: Of the configuration.
    """
    with TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({"device": "cpu", **settings}), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-u", "server.py", "--demo", "--config", config, "--port", "0", "--data", folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout), **(environment or {})},
        )
        try:
            assert process.stdout is not None
            found = next(filter(None, (re.search(r"http://\S+", line) for line in process.stdout)))
            yield Server(found.group(), process.pid)
        finally:
            process.kill()
            process.communicate()
