"""What many machines cost and gain: the way of a job to a worker and back, and how workers add up.

Redis, a server and workers that sleep run as processes of this machine. Overhead is measured with jobs of no work,
one at a time: from the request to the job's first event, and to its answer. Throughput is that of jobs of one second,
with one worker and with several. The last line is JSON.

    python benchmarks/cluster.py
"""

import json
import os
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import requests
from cluster_processes import PATIENCE, ClusterProcesses, form, url_of, wait_for_workers

from sd_api.owners import job_name

# What was promised: milliseconds from HTTP to the first event, and how many workers' worth eight give.
ALLOWED_MS = 20.0
SHARE_OF_WORKERS = 0.95


def overhead(cluster: ClusterProcesses, url: str, rounds: int) -> dict[str, float]:
    """Median milliseconds until a job's first event is sent, and until its answer has arrived."""
    asked: dict[str, float] = {}
    began: dict[str, float] = {}
    heard_all = threading.Event()
    listening = threading.Event()

    def listen() -> None:
        with cluster.redis.client() as client, client.pubsub(ignore_subscribe_messages=True) as news:
            # As the server hears it.
            news.psubscribe("sd:updates:*")
            listening.set()
            while not heard_all.is_set():
                message = news.get_message(timeout=0.1)
                if message is not None:
                    began.setdefault(job_name(json.loads(message["data"])["id"]), time.perf_counter())

    listener = threading.Thread(target=listen)
    listener.start()
    listening.wait()
    whole = []
    with requests.Session() as session:
        for number in range(rounds + 5):
            job_id = f"job-{number}"
            asked[job_id] = time.perf_counter()
            answer = session.post(f"{url}/txt2img", data=form("sleep 0", 1, job_id=job_id), timeout=PATIENCE)
            assert answer.ok, answer.text
            whole.append(time.perf_counter() - asked[job_id])
            # An idle worker is what is measured.
            time.sleep(0.05)
    # On a busy machine, an answer may be here before this process has read the job's events.
    end = time.monotonic() + PATIENCE
    while not asked.keys() <= began.keys() and time.monotonic() < end:
        time.sleep(0.05)
    heard_all.set()
    listener.join()
    first = [began[job_id] - started for job_id, started in asked.items()]
    # The first ones find nothing warm.
    return {
        "first_event_ms": statistics.median(first[5:]) * 1e3,
        "first_event_p95_ms": statistics.quantiles(first[5:], n=20)[-1] * 1e3,
        "answer_ms": statistics.median(whole[5:]) * 1e3,
    }


def throughput(url: str, jobs: int, clients: int) -> float:
    """Jobs of one second per second, with as many clients as keep all workers busy."""

    def make(number: int) -> None:
        # Programs of many names, because they take turns.
        headers = {"User-Agent": f"client {number % clients}"}
        answer = requests.post(f"{url}/txt2img", data=form("sleep 1"), headers=headers, timeout=600)
        assert answer.ok, answer.text

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(make, range(jobs)))
    return jobs / (time.perf_counter() - started)


@click.command()
@click.option("--rounds", default=200, show_default=True, help="Jobs of no work.")
@click.option("--workers", default=8, show_default=True, help="How many are compared with one.")
@click.option("--jobs", default=10, show_default=True, help="Jobs of one second for each worker.")
def main(rounds: int, workers: int, jobs: int) -> None:
    """Print the tables."""
    with TemporaryDirectory() as folder, ClusterProcesses(Path(folder)) as cluster:
        url = url_of(cluster.start_server())
        cluster.start_worker().wait()
        wait_for_workers(url, 1)
        result = overhead(cluster, url, rounds)
        result["jobs_per_second_of_one"] = throughput(url, jobs, 2)
        for worker in [cluster.start_worker() for _ in range(workers - 1)]:
            worker.wait()
        wait_for_workers(url, workers)
        result[f"jobs_per_second_of_{workers}"] = throughput(url, jobs * workers, 2 * workers)
    times = result[f"jobs_per_second_of_{workers}"] / result["jobs_per_second_of_one"]
    print(f"{os.cpu_count()} cores, median of {rounds}\n")
    for name, value in result.items():
        print(f"{name:>24}  {value:8.2f}")
    print(f"{'times one worker':>24}  {times:8.2f}")
    print(f"{'allowed':>24}  {ALLOWED_MS:.0f} ms, {SHARE_OF_WORKERS * workers:.1f} times")
    print(json.dumps({**result, "workers": workers, "times_one": times}))


if __name__ == "__main__":
    main()
