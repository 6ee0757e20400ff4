"""How many requests a second a cluster on this machine answers, and what each costs Redis, the API and a worker.

The workers sleep instead of drawing. Jobs of no work show what the cluster itself can do; what is counted in seconds of
processor time holds on larger machines, too. The last line is JSON; ``scaling.py`` takes its costs.

    python benchmarks/throughput.py --out costs.json
"""

import argparse
import json
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import redis
import requests
from cluster_model import Costs
from cluster_processes import ClusterProcesses, Process, form, url_of, wait_for_workers
from PIL import Image
from sleeping_worker import SleepingEngine
from specs import text_to_image

from sd_api.generation.engine import EngineStatus
from sd_api.jobs.cluster.board import JobBoard
from sd_api.jobs.cluster.worker import ClusterWorker
from sd_api.jobs.cluster.worker_board import WorkerBoard
from sd_api.jobs.job import Job
from sd_api.settings import Limits, Settings
from sd_api.stores import open_stores

# Of each job; the server reports every one of them.
STEPS = 20
# Jobs that wait while it is measured what looking through them costs; as many as that measurement takes.
WAITING = 1000
LOOKS = 200
# Workers without a job.
AT_REST = 100
MEGABYTE = 1_000_000
# No limit of the configuration shall be what limits here.
LIMITS = Limits(max_queued_requests=100_000, max_queued_requests_per_client=100_000)


@dataclass(frozen=True)
class Row:
    """One measurement; times of processors are milliseconds for each job.

    Attributes:
        workers: how many there were.
        sleep: seconds that each job slept.
        rate: jobs per second.
        median: seconds from request to answer.
        redis: of Redis.
        api: of the API process.
        worker: of all workers.
    """

    workers: int
    sleep: float
    rate: float
    median: float
    redis: float
    api: float
    worker: float


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--out", type=Path, help="where to keep what scaling.py needs")
    parser.add_argument("--appendfsync", choices=("always", "everysec"), default="always", help="when Redis writes")
    arguments = parser.parse_args()
    sync = arguments.appendfsync
    rows = _jobs(sync, sorted(arguments.workers), arguments.seconds)
    rest = _rest(sync, arguments.seconds)
    listed, passed = _looking(sync)
    print(f"\nOf Redis's time for each waiting job when a worker becomes free: {listed * 1e6:.1f} us to list it,")
    print(f"{passed * 1e6:.1f} us more to pass it over")
    blobs = _blobs(sync, arguments.seconds / 2)
    working = [row for row in rows if row.sleep == 0]
    costs = Costs(
        # One worker that always has a next job; what it does besides the job's own work.
        turnaround=1 / working[0].rate,
        # With the most workers: what they ask at the same time, Redis brings to the disk at once.
        redis_job=working[-1].redis / 1e3,
        redis_megabyte=blobs[0]["redis_ms"] / 1e3 / blobs[0]["megabytes"],
        redis_list=listed,
        redis_pass=passed,
        redis_worker=rest["redis"],
    )
    result = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "appendfsync": sync,
        "costs": asdict(costs),
        "jobs": [asdict(row) for row in rows],
        "rest": rest,
        "blobs": blobs,
    }
    text = json.dumps(result)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(text)


@contextmanager
def _cluster(sync: str, **settings: Any) -> Iterator[ClusterProcesses]:
    with TemporaryDirectory() as folder, ClusterProcesses(Path(folder), **settings) as cluster:
        with cluster.redis.client() as client:
            client.config_set("appendfsync", sync)
        yield cluster


def _jobs(sync: str, counts: Sequence[int], seconds: float) -> list[Row]:
    """Requests over HTTP against workers."""
    print("Processor time of Redis, the API and the workers in milliseconds for each job")
    print(f"{'workers':>7}  {'sleep':>6}  {'jobs/s':>7}  {'median':>8}  {'Redis':>8}  {'API':>8}  {'worker':>8}")
    rows = []
    with _cluster(sync, limits=LIMITS.model_dump()) as cluster:
        server = cluster.start_server()
        url = url_of(server)
        workers: list[Process] = []
        for count in counts:
            while len(workers) < count:
                workers.append(cluster.start_worker())
            wait_for_workers(url, count)
            for sleep in (0.0, 0.5):
                rows.append(_measure(url, cluster.redis.client(), server, workers, sleep, seconds))
                row = rows[-1]
                print(
                    f"{count:>7}  {sleep:>4.1f} s  {row.rate:>7.1f}  {row.median * 1e3:>5.0f} ms  {row.redis:>8.2f}"
                    f"  {row.api:>8.2f}  {row.worker:>8.2f}",
                    flush=True,
                )
    return rows


def _rest(sync: str, seconds: float) -> dict[str, float]:
    """What a worker without a job takes of Redis, of its time and of connections; there are many, in this process."""
    with _cluster(sync) as cluster, cluster.redis.client() as client:
        known = EngineStatus("loading", "a bed")
        workers = [ClusterWorker(cluster.redis.cluster, SleepingEngine, known, LIMITS) for _ in range(AT_REST)]
        for worker in workers:
            worker.start()
        while client.zcard("sd:workers") < AT_REST:
            time.sleep(0.1)
        time.sleep(2)
        before = _redis_seconds(client)
        time.sleep(seconds)
        rest = {
            "redis": (_redis_seconds(client) - before) / seconds / AT_REST,
            "connections": (client.info("clients")["connected_clients"] - 1) / AT_REST,
        }
        with ThreadPoolExecutor(AT_REST) as pool:
            for stopping in [pool.submit(worker.stop, 10) for worker in workers]:
                stopping.result()
    print(f"\nA worker at rest takes {rest['redis']:.3%} of Redis's time, and {rest['connections']:.1f} connections")
    return rest


def _measure(
    url: str, client: redis.Redis, server: Process, workers: Sequence[Process], sleep: float, seconds: float
) -> Row:
    clocks: list[Callable[[], float]] = [
        lambda: _redis_seconds(client),
        lambda: _processor_seconds([server]),
        lambda: _processor_seconds(workers),
    ]
    # More than can be made at once, so that no worker waits for a client.
    clients = 2 * len(workers) + 2
    took: list[float] = []
    _ask(url, sleep, time.monotonic() + 1, [])
    before = [clock() for clock in clocks]
    started = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        for asking in [pool.submit(_ask, url, sleep, started + seconds, took) for _ in range(clients)]:
            asking.result()
    elapsed = time.monotonic() - started
    redis_ms, api_ms, worker_ms = (
        (clock() - earlier) / len(took) * 1e3 for clock, earlier in zip(clocks, before, strict=True)
    )
    client.close()
    return Row(len(workers), sleep, len(took) / elapsed, statistics.median(took), redis_ms, api_ms, worker_ms)


def _ask(url: str, sleep: float, until: float, took: list[float]) -> None:
    """Send jobs until a time, as a program of its own in the fair queue."""
    with requests.Session() as session:
        session.headers["User-Agent"] = f"client {threading.get_ident()}"
        while time.monotonic() < until:
            started = time.monotonic()
            answer = session.post(f"{url}/txt2img", data=form(f"sleep {sleep}", STEPS), timeout=60)
            assert answer.json()["status"] == "success", answer.text
            took.append(time.monotonic() - started)


def _looking(sync: str) -> tuple[float, float]:
    """Seconds of Redis for each waiting job when a worker becomes free: where it is listed, where it is passed over."""
    with _cluster(sync) as cluster, cluster.redis.client() as client:
        board, worker = JobBoard(client, cluster.redis.cluster), WorkerBoard(client, cluster.redis.cluster)
        picture = text_to_image(64, steps=1)

        def claim(model: str | None) -> float:
            """What it takes to give a job to a worker that has this model, and to take it back."""
            before = _redis_seconds(client)
            for _ in range(LOOKS):
                claims, _ = worker.claim("worker", healthy=True, models=[model], at_once=1)
                worker.release(claims[0])
            return (_redis_seconds(client) - before) / LOOKS

        board.submit(Job(picture), server="nobody", rejoin=False, limits=LIMITS)
        alone = claim(None)
        for number in range(WAITING):
            board.submit(Job(picture, client=f"client {number}"), server="nobody", rejoin=False, limits=LIMITS)
        # With its model the first one fits; with another, all are looked at in vain.
        listed, passed = claim(None), claim("another")
        return (listed - alone) / WAITING, (passed - listed) / WAITING


def _blobs(sync: str, seconds: float) -> list[dict[str, Any]]:
    """How fast images are kept and fetched, in Redis and in a folder beside it."""
    picture = BytesIO()
    side = 600
    # Noise, which does not get smaller.
    Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)).save(picture, "PNG", compress_level=0)
    content = picture.getvalue()
    print(
        f"\n{'images':>9}  {'kept':>10}  {'fetched':>10}  {'Redis':>14}  (images of {len(content) / MEGABYTE:.1f} MB)"
    )
    rows = []
    with TemporaryDirectory() as folder, _cluster(sync) as cluster, cluster.redis.client() as client:
        for place in ("redis", folder):
            values = {"cluster": {"redis_url": cluster.redis.url, "blobs": place}}
            limits = {"max_blob_bytes_per_user": 2**50}
            stores = open_stores(Settings.model_validate({**values, "limits": limits}))
            try:
                row = _keep_and_fetch(stores.blobs, content, seconds, lambda: _redis_seconds(client))
            finally:
                stores.close()
            rows.append({"place": "redis" if place == "redis" else "folder", **row})
            print(
                f"{rows[-1]['place']:>9}  {row['kept']:>5.0f} MB/s  {row['fetched']:>5.0f} MB/s"
                f"  {row['redis_ms']:>5.2f} ms/image",
                flush=True,
            )
            client.flushall()
    return rows


def _keep_and_fetch(blobs: Any, content: bytes, seconds: float, clock: Callable[[], float]) -> dict[str, float]:
    before = clock()
    kept: list[Any] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        kept.append(blobs.make("somebody", content, "image/png"))
        blobs.add(kept[-1])
        if len(kept) >= 500:
            break
    keeping = seconds - (until - time.monotonic())
    started = time.monotonic()
    for blob in kept:
        assert len(blobs.read(blob)) == len(content)
    fetching = time.monotonic() - started
    megabytes = len(kept) * len(content) / MEGABYTE
    return {
        "kept": megabytes / keeping,
        "fetched": megabytes / fetching,
        "redis_ms": (clock() - before) / len(kept) * 1e3,
        "megabytes": len(content) / MEGABYTE,
    }


def _redis_seconds(client: redis.Redis) -> float:
    """The processor time that Redis has taken, its system calls included."""
    used = client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def _processor_seconds(processes: Sequence[Process]) -> float:
    times = [psutil.Process(process.process.pid).cpu_times() for process in processes]
    return float(sum(time.user + time.system for time in times))


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
