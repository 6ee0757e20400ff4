"""What idle listeners cost: /ping beside hundreds of websockets, and the server's memory for each.

    python benchmarks/listeners.py --listeners 500

The server is a process of its own. A few tasks run at last, to see that every listener hears of them. The last line
is JSON.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import requests
from websockets.asyncio.client import ClientConnection, connect

SERVER = Path(__file__).resolve().parent.parent / "server.py"
PINGS = 1000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listeners", type=int, default=500)
    arguments = parser.parse_args()

    with TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({"enable_public_token": True, "device": "cpu"}))
        command = [
            sys.executable,
            "-u",
            str(SERVER),
            "--demo",
            "--port",
            "0",
            "--data",
            folder,
            "--config",
            str(config),
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                url = listening_at(process)
                result = asyncio.run(measure(url, psutil.Process(process.pid), arguments.listeners))
            finally:
                process.kill()
    for name, value in result.items():
        print(f"{name:>28}  {value:.2f}")
    print(json.dumps(result))


def listening_at(process: subprocess.Popen[str]) -> str:
    """The server's URL, once it has its model."""
    assert process.stderr is not None
    for line in process.stderr:
        if "http://" in line:
            url = line[line.index("http://") :].split()[0]
            while requests.get(f"{url}/health", timeout=30).json()["status"] != "ready":
                time.sleep(0.2)
            return url
    raise SystemExit("The server did not start.")


async def measure(url: str, process: psutil.Process, count: int) -> dict[str, float]:
    """The figures with and without listeners."""
    token = requests.post(f"{url}/token/all", timeout=10).json()["access_token"]
    alone = await asyncio.to_thread(ping, url)
    before = process.memory_info().rss
    target = f"{url.replace('http', 'ws', 1)}/events?token={token}"
    listeners = [await connect(target, proxy=None) for _ in range(count)]
    await asyncio.sleep(1)
    memory = (process.memory_info().rss - before) / max(1, count)
    beside = await asyncio.to_thread(ping, url)
    task = {"prompt": "a dog", "steps": 1, "width": 64, "height": 64}
    headers = {"Authorization": f"Bearer {token}"}
    started = time.monotonic()
    await asyncio.to_thread(requests.post, f"{url}/task", json=task, headers=headers, timeout=30)
    await asyncio.gather(*(hear_the_end(listener) for listener in listeners))
    elapsed = time.monotonic() - started
    for listener in listeners:
        await listener.close()
    return {
        "listeners": count,
        "ping p50 alone, ms": statistics.median(alone),
        "ping p99 alone, ms": percentile(alone, 99),
        "ping p50 beside them, ms": statistics.median(beside),
        "ping p99 beside them, ms": percentile(beside, 99),
        "memory for each, kB": memory / 1000,
        "all have heard after, s": elapsed,
    }


async def hear_the_end(listener: ClientConnection) -> None:
    """Wait for the end of the task."""
    while json.loads(await listener.recv())["event_type"] != "finished":
        pass


def ping(url: str) -> list[float]:
    """How long /ping takes, in milliseconds."""
    session, times = requests.Session(), []
    for _ in range(PINGS):
        started = time.perf_counter()
        session.get(f"{url}/ping", timeout=10).raise_for_status()
        times.append(1000 * (time.perf_counter() - started))
    return times


def percentile(values: list[float], percent: int) -> float:
    """The value that so many in a hundred do not exceed."""
    return statistics.quantiles(values, n=100)[percent - 1]


if __name__ == "__main__":
    main()
