"""How fast ``/ping`` and ``/health`` answer while the server rests, and while it makes a picture.

Both figures come from one run. The last line is JSON.

    python benchmarks/responsiveness.py
"""

import argparse
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import requests
from running_server import running_server

GENERATION = {"prompt": "a dog", "num_inference_steps": 500}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300)
    arguments = parser.parse_args()

    rows = []
    # The server ends first, and with it the picture that nobody waits for any more.
    with ThreadPoolExecutor() as pool, running_server("fp32") as url:
        requests.post(f"{url}/txt2img", data=GENERATION | {"num_inference_steps": 1}, timeout=600).raise_for_status()
        rows += [_row("resting", url, path, arguments.calls) for path in ("/ping", "/health")]
        busy = pool.submit(requests.post, f"{url}/txt2img", data=GENERATION, timeout=600)
        time.sleep(1)
        rows += [_row("generating", url, path, arguments.calls) for path in ("/ping", "/health")]
        assert not busy.done()
    print(f"{'server':<12}{'path':<10}{'median':>10}{'p99':>10}")
    for row in rows:
        print(f"{row['server']:<12}{row['path']:<10}{row['median_ms']:>7.2f} ms{row['p99_ms']:>7.2f} ms")
    print(json.dumps({"calls": arguments.calls, "rows": rows}))


def _row(server: str, url: str, path: str, calls: int) -> dict[str, str | float]:
    milliseconds = []
    with requests.Session() as session:
        for _ in range(calls):
            started = time.perf_counter()
            session.get(url + path, timeout=10).raise_for_status()
            milliseconds.append((time.perf_counter() - started) * 1e3)
    return {
        "server": server,
        "path": path,
        "median_ms": statistics.median(milliseconds),
        "p99_ms": statistics.quantiles(milliseconds, n=100)[98],
    }


if __name__ == "__main__":
    main()
