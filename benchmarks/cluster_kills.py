"""What is lost when the processes of a cluster are killed at any moment.

Clients send jobs to servers at random, as they would through a balancer, and send again what was not acknowledged.
Meanwhile workers, servers and Redis are ended as kill -9 ends them, and started again a moment later, as any
supervisor does. At last every job is asked for. The last line is JSON.

    python benchmarks/cluster_kills.py
"""

import itertools
import json
import queue
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import redis
import requests
from cluster_processes import ClusterProcesses, form, url_of

from sd_api.owners import address, qualified

# Seconds that everything has to come to an end.
PATIENCE = 600.0

# Seconds until what was killed is started again.
RESTART = 0.5

CLIENTS = 8

# The owner of their jobs.
HERE = address("127.0.0.1")
ENDED = ("finished", "failed", "cancelled")

# How often each is killed, among all.
WEIGHTS = {"worker": 5, "server": 3, "redis": 2}


class Watcher:
    """Hears what becomes of jobs, as servers do.

    Attributes:
        states: of each job, when it was reported in which state, in order.
    """

    def __init__(self, connect: Callable[[], redis.Redis]) -> None:
        self.states: dict[str, list[tuple[float, str]]] = defaultdict(list)
        self._connect = connect
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def stop(self) -> None:
        """Hear no more."""
        self._done.set()
        self._thread.join()

    def longest_silence(self) -> float:
        """The most seconds in which nothing was heard of a job between its first beginning and its end."""
        longest = 0.0
        for states in self.states.values():
            times = [when for when, _ in states]
            longest = max([longest, *(after - before for before, after in itertools.pairwise(times))])
        return longest

    def begun_again(self) -> int:
        """How many beginnings were taken back, because a worker had died or stopped."""
        return sum(state == "queued" for states in self.states.values() for _, state in states)

    def ended_twice(self) -> list[str]:
        """The jobs whose end was reported more than once."""
        return [job_id for job_id, states in self.states.items() if sum(state in ENDED for _, state in states) > 1]

    def _listen(self) -> None:
        while not self._done.is_set():
            try:
                with self._connect() as client, client.pubsub(ignore_subscribe_messages=True) as news:
                    news.psubscribe("sd:updates:*")
                    while not self._done.is_set():
                        message = news.get_message(timeout=0.2)
                        if message is not None:
                            plain = json.loads(message["data"])
                            self.states[plain["id"]].append((time.monotonic(), plain["state"]))
            except redis.RedisError:
                time.sleep(0.05)


class Trial:
    """A cluster whose processes are killed while clients send jobs.

    Args:
        cluster: where it runs.
        servers: how many there are at a time.
        workers: likewise.
        seed: of all that is left to chance.
    """

    def __init__(self, cluster: ClusterProcesses, *, servers: int, workers: int, seed: int = 0) -> None:
        self._cluster = cluster
        self._chance = random.Random(seed)
        self._servers = [cluster.start_server() for _ in range(servers)]
        self._workers = [cluster.start_worker() for _ in range(workers)]
        for process in (*self._servers, *self._workers):
            process.wait()
        self._watcher = Watcher(cluster.redis.client)
        self.kills: Counter[str] = Counter()
        self._acknowledged: dict[str, float] = {}

    def run(self, jobs: int, seconds: float, kill: Callable[["Trial"], bool]) -> dict[str, Any]:
        """Send jobs, and kill until all of them are acknowledged and ended; what came of it.

        Args:
            jobs: how many.
            seconds: how long each takes.
            kill: is called again and again meanwhile, with this; true while there is more to kill.
        """
        numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(jobs):
            numbers.put(number)
        clients = [threading.Thread(target=self._send, args=(numbers, seconds, name)) for name in range(CLIENTS)]
        started = time.monotonic()
        for client in clients:
            client.start()
        while kill(self) or any(client.is_alive() for client in clients) or len(self._ended()) < jobs:
            assert time.monotonic() < started + PATIENCE, self.kills
            time.sleep(0.1)
        for client in clients:
            client.join()
        elapsed = time.monotonic() - started
        # What is reported twice would be by now.
        time.sleep(1.0)
        states = self._ended()
        self._watcher.stop()
        return {
            "seconds": elapsed,
            "kills": dict(self.kills),
            "acknowledged": len(self._acknowledged),
            **{state: list(states.values()).count(state) for state in ENDED},
            "lost": len(set(self._acknowledged) - set(states)),
            "doubled": len(self._watcher.ended_twice()),
            "wrong_pictures": sum(not self._right_pictures(name) for name, at in states.items() if at == "finished"),
            "begun_again": self._watcher.begun_again(),
            "longest_delay": self._watcher.longest_silence(),
            "longest_refusal": max(self._acknowledged.values()),
        }

    def kill(self, kind: str) -> None:
        """End one of a kind, and start it again."""
        self.kills[kind] += 1
        if kind == "redis":
            self._cluster.redis.kill()
            time.sleep(RESTART)
            self._cluster.redis.start()
            return
        group, start = {
            "worker": (self._workers, self._cluster.start_worker),
            "server": (self._servers, self._cluster.start_server),
        }[kind]
        place = self._chance.randrange(len(group))
        group[place].end()
        time.sleep(RESTART)
        group[place] = start()
        group[place].wait()

    def kill_by_chance(self, pause: float) -> bool:
        """Wait a while, then kill something; False, because it never has to go on."""
        time.sleep(self._chance.uniform(0.2, 2 * pause))
        self.kill(self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0])
        return False

    def _url(self) -> str:
        return url_of(self._chance.choice(self._servers))

    def _send(self, numbers: "queue.SimpleQueue[int]", seconds: float, client: int) -> None:
        """Send jobs until there are none, each until it is acknowledged."""
        headers = {"User-Agent": f"client {client}"}
        while True:
            try:
                number = numbers.get_nowait()
            except queue.Empty:
                return
            fields = form(f"sleep {seconds}", 10, job_id=f"job-{number}", seed=number + 1, wait="false")
            started = time.monotonic()
            while True:
                try:
                    answer = requests.post(f"{self._url()}/txt2img", data=fields, headers=headers, timeout=30)
                except (requests.RequestException, AssertionError):
                    # Killed, or just being started.
                    time.sleep(0.1)
                    continue
                # Taken: it was accepted, and the process that accepted it died before saying so.
                if answer.status_code in (202, 409):
                    self._acknowledged[f"job-{number}"] = time.monotonic() - started
                    break
                assert answer.status_code == 503, answer.text
                time.sleep(0.5)

    def _ended(self) -> dict[str, str]:
        """The final states of the jobs that have one, as Redis has them."""
        names = list(self._acknowledged)
        with self._cluster.redis.client() as client, client.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.hget(f"sd:jobs:{qualified(HERE, name)}", "state")
            states = [state and state.decode() for state in pipeline.execute()]
        return {name: state for name, state in zip(names, states, strict=True) if state in ENDED}

    def _right_pictures(self, name: str) -> bool:
        answer = requests.get(f"{self._url()}/jobs/{name}/result", timeout=60).json()
        return [image["seed"] for image in answer["images"]] == [int(name.removeprefix("job-")) + 1]


def report(result: dict[str, Any]) -> None:
    """Print what came of a trial."""
    for key, value in result.items():
        print(f"{key:>24}  {value:.1f}" if isinstance(value, float) else f"{key:>24}  {value}")
    print(json.dumps(result))


@click.command()
@click.option("--servers", default=3, show_default=True)
@click.option("--workers", default=4, show_default=True)
@click.option("--jobs", default=200, show_default=True)
@click.option("--seconds", default=1.0, show_default=True, help="How long a job takes.")
@click.option("--pause", default=3.0, show_default=True, help="Seconds between two kills, in the mean.")
@click.option("--seed", default=0, show_default=True)
def main(servers: int, workers: int, jobs: int, seconds: float, pause: float, seed: int) -> None:
    """Kill, again and again, and look for what is missing."""
    with TemporaryDirectory() as folder, ClusterProcesses(Path(folder)) as cluster:
        trial = Trial(cluster, servers=servers, workers=workers, seed=seed)
        report(trial.run(jobs, seconds, lambda trial: trial.kill_by_chance(pause)))


if __name__ == "__main__":
    main()
