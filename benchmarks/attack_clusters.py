"""Attacks on servers over one Redis: it is halted, ended and started again; two servers are asked at once."""

import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode, urlsplit

from attacked_server import FORM, JSON, MB, Row, Watched, watching
from cluster_processes import ClusterProcesses, Process, form, url_of, wait_for_workers


def watched(server: Process) -> Watched:
    """A server of a cluster, once it answers."""
    url = urlsplit(url_of(server))
    return Watched(str(url.hostname), int(url.port or 0), server.process.pid)


def bearer(target: Watched) -> dict[str, str]:
    """The headers of a client with a new public token."""
    token = target.ask("POST", "/token/all")[1]["access_token"]
    return {"Authorization": f"Bearer {token}", "Content-Type": JSON}


def halt_redis(pollers: int, seconds: float) -> Row:
    """Ask for tasks on several threads while Redis is halted; each answer but the first few is a quick refusal."""
    with TemporaryDirectory() as folder, ClusterProcesses(Path(folder), enable_public_token=True) as cluster:
        server = cluster.start_server()
        target = watched(server)
        headers = bearer(target)
        statuses: Counter[int] = Counter()
        over = threading.Event()

        def poll() -> None:
            while not over.wait(0.01):
                statuses[target.ask("GET", "/tasks", b"", headers)[0]] += 1

        threads = [threading.Thread(target=poll) for _ in range(pollers)]
        cluster.redis.pause()
        try:
            with watching(target) as notice:
                for thread in threads:
                    thread.start()
                time.sleep(seconds)
                over.set()
                for thread in threads:
                    thread.join()
        finally:
            cluster.redis.resume()
        deadline = time.monotonic() + 10
        while (after := target.ask("GET", "/tasks", b"", headers)[0]) != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        outcome = f"{dict(statuses)}, {len(server.output)} bytes printed, then {after}"
        # Many, because all but the first few wait for nothing.
        right = after == 200 and set(statuses) == {503} and statuses[503] > 20 * pollers and len(server.output) < 5_000
        return Row(f"{pollers} pollers, Redis is halted", notice, outcome, seconds + 10, 50 * MB, 50, right)


def restart_redis(jobs: int, seconds: float) -> Row:
    """Halt Redis while jobs run and wait, end it as a power failure does, and start it again: all are made."""
    with TemporaryDirectory() as folder, ClusterProcesses(Path(folder)) as cluster:
        workers = [cluster.start_worker() for _ in range(2)]
        server = cluster.start_server()
        target = watched(server)
        wait_for_workers(url_of(server), 2)

        def make(number: int) -> int:
            fields = urlencode(form(f"sleep {0.5 + number % 3 / 2}", seed=number)).encode()
            return target.ask("POST", "/txt2img", fields, {"Content-Type": FORM})[0]

        with ThreadPoolExecutor(jobs) as clients, watching(target) as notice:
            asked = [clients.submit(make, number) for number in range(jobs)]
            time.sleep(1)
            cluster.redis.pause()
            time.sleep(seconds)
            cluster.redis.resume()
            time.sleep(0.5)
            cluster.redis.kill()
            time.sleep(1)
            cluster.redis.start()
            statuses = Counter(each.result() for each in asked)
        printed = sum(len(process.output) for process in (server, *workers))
        traces = sum(process.output.count("Traceback") for process in (server, *workers))
        outcome = f"{dict(statuses)}, {traces} tracebacks, {printed} bytes printed"
        right = set(statuses) == {200} and not traces and printed < 10_000
        return Row(f"{jobs} jobs, Redis is halted and ended", notice, outcome, 60, 50 * MB, 50, right)


def race_for_a_limit(most: int, tasks: int) -> Row:
    """Add tasks at two servers at once: as many as may wait are accepted, and one for each that has started."""
    settings = {"enable_public_token": True, "limits": {"max_pending_tasks_per_user": most}}
    with TemporaryDirectory() as folder, ClusterProcesses(Path(folder), **settings) as cluster:
        both = [watched(cluster.start_server()) for _ in range(2)]
        headers = bearer(both[0])
        task = json.dumps({"prompt": "sleep 30", "steps": 5}).encode()

        def add(number: int) -> int:
            return both[number % 2].ask("POST", "/task", task, headers)[0]

        def race() -> Counter[int]:
            with ThreadPoolExecutor(16) as clients:
                return Counter(clients.map(add, range(tasks)))

        with watching(both[0]) as notice:
            waiting = race()
            cluster.start_worker()
            deadline = time.monotonic() + 30
            while not _started(both[1], headers) and time.monotonic() < deadline:
                time.sleep(0.1)
            started = race()
        outcome = f"{dict(waiting)}, and once one has started {dict(started)}"
        right = (waiting[429], started[429]) == (tasks - most, tasks - 1) and len(waiting) == len(started) == 2
        return Row(f"{tasks} tasks at 2 servers, {most} may wait", notice, outcome, 40, 50 * MB, 50, right)


def _started(target: Watched, headers: dict[str, str]) -> bool:
    return "started" in json.dumps(target.ask("GET", "/tasks", b"", headers)[1])
