"""What becomes of a picture's time while another program keeps one core busy, as Photoshop may?

A server whose threads wait as this one's do, giving their core away, beside one whose threads wait as OpenMP has it
by default; with the built-in model on all cores. The last line is JSON.

    python benchmarks/busy.py
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from server_of import REPOSITORY, server_of
from specs import PROMPT

FORM: dict[str, object] = {"prompt": PROMPT, "num_inference_steps": 20, "seed": 5}

# How often GNU's OpenMP looks whether the wait is over before it gives the core away, where nothing is set.
POLICIES = {"as the server sets it": {}, "OpenMP's default": {"GOMP_SPINCOUNT": "300000"}}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=5)
    pictures = parser.parse_args().pictures
    rows = []
    print(f"{'threads wait':24}  {'alone':>8}  {'one core busy':>14}   median of {pictures}")
    for name, environment in POLICIES.items():
        with server_of(REPOSITORY, environment) as (url, _):
            _median_seconds(url, 2)
            alone = _median_seconds(url, pictures)
            with _burner():
                busy = _median_seconds(url, pictures)
        rows.append({"policy": name, "alone": alone, "busy": busy})
        print(f"{name:24}  {alone:>6.2f} s  {busy:>12.2f} s", flush=True)
    print(json.dumps(rows))


def _median_seconds(url: str, pictures: int) -> float:
    times = []
    for _ in range(pictures):
        started = time.perf_counter()
        requests.post(f"{url}/txt2img", data=FORM, timeout=600).raise_for_status()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


@contextmanager
def _burner() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
