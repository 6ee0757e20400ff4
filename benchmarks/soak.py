"""Does memory grow? Thousands of small jobs, many of them cancelled, in one running server.

Resident memory of the process, clients included, is read twenty times; the first fifth is its warm-up.
The last line is JSON.

    python benchmarks/soak.py
"""

import argparse
import json
import random
import threading
from collections import Counter

import psutil
import requests
from running_server import running_server

SEED = 20
READINGS = 20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--cancelled", type=float, default=0.3, help="the share of jobs that is cancelled somewhere")
    arguments = parser.parse_args()

    chance, memory, ends = random.Random(SEED), [], Counter[int]()
    every = max(1, arguments.jobs // READINGS)
    with running_server("fp32") as url, requests.Session() as session:
        for number in range(arguments.jobs):
            form = _random_form(chance) | {"job_id": f"soak-{number}"}
            if chance.random() < arguments.cancelled:
                threading.Timer(chance.random() * 0.2, _cancel, (url, form["job_id"])).start()
            ends[session.post(f"{url}/txt2img", data=form, timeout=600).status_code] += 1
            if number % every == every - 1:
                memory.append(psutil.Process().memory_info().rss)
                print(f"after {number + 1:>5} jobs: {memory[-1] / 2**20:7.1f} MiB", flush=True)
    assert set(ends) <= {200, 409}, ends
    growth = memory[-1] / memory[len(memory) // 5 - 1] - 1
    print(json.dumps({"made": ends[200], "cancelled": ends[409], "growth_after_warm_up": round(growth, 4)}))


def _random_form(chance: random.Random) -> dict[str, object]:
    return {
        "prompt": f"thing {chance.random()}",
        "width": 64 * chance.randint(1, 4),
        "height": 64 * chance.randint(1, 4),
        "num_inference_steps": chance.randint(1, 6),
        "num_outputs": chance.randint(1, 2),
    }


def _cancel(url: str, job_id: object) -> None:
    requests.post(f"{url}/jobs/{job_id}/cancel", timeout=10)


if __name__ == "__main__":
    main()
