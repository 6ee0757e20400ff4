"""Kill -9 in a loop: whether anything that the server acknowledged is ever lost, or done twice.

    python benchmarks/kills.py --rounds 30

Clients make tasks, send images and become users all the time; what is acknowledged is written down here.
At a random moment the server is killed and started again. At last everything is asked for.
"""

import json
import random
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import requests
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
CLIENTS = 4
PASSWORD = "correct horse battery staple"
# Seconds that the last start has for whatever is left to do.
PATIENCE = 300


@dataclass
class Ledger:
    """What was acknowledged."""

    users: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    blobs: dict[str, bytes] = field(default_factory=dict)
    uploads_tried: int = 0


class Server:
    """A server process on the same data at each start.

    Args:
        folder: for the configuration and the data.
        popen: starts it: ``subprocess.Popen`` or what takes its place.
    """

    def __init__(self, folder: Path, popen: Any) -> None:
        (folder / "config.json").write_text(json.dumps({"enable_signup": True, "device": "cpu"}))
        arguments = ["--config", str(folder / "config.json"), "--data", str(folder / "data"), "--port", "0", "--demo"]
        self.process = popen(
            [sys.executable, "-u", str(REPOSITORY / "server.py"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self.output = ""
        while not (found := re.search(r"http://\S+", self.output)):
            line = self.process.stdout.readline()
            assert line, self.output
            self.output += line
        self.url = found.group()
        # Read on, or the pipe would fill.
        self._reader = threading.Thread(target=self.process.stdout.read)
        self._reader.start()

    def wait_until_ready(self) -> None:
        """Return once the model is loaded."""
        while requests.get(f"{self.url}/health", timeout=30).json()["status"] != "ready":
            time.sleep(0.1)

    def kill(self) -> None:
        """As the system does when it runs out of memory, or somebody who has lost patience."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


def picture(number: int) -> bytes:
    """A small picture like no other."""
    file = BytesIO()
    Image.effect_noise((16, 16), 1 + number % 100).save(file, "PNG")
    return file.getvalue()


def work(url: str, token: str, ledger: Ledger, chance: random.Random) -> None:
    """Do whatever clients do until the server is gone."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    try:
        while True:
            steps = chance.randint(1, 8)
            parameters = {"prompt": f"a dog {chance.random()}", "steps": steps, "width": 64, "height": 64}
            answer = session.post(f"{url}/task", json=parameters, timeout=10)
            answer.raise_for_status()
            task_id = answer.json()
            ledger.tasks.append(task_id)
            if chance.random() < 0.2:
                session.delete(f"{url}/task/{task_id}", timeout=10).raise_for_status()
                ledger.cancelled.add(task_id)
            content = picture(chance.randrange(10**6))
            ledger.uploads_tried += 1
            answer = session.post(f"{url}/blob", files={"blob_data": content}, timeout=10)
            answer.raise_for_status()
            ledger.blobs[answer.json()] = content
            time.sleep(chance.uniform(0.3, 1.5))
    except requests.ConnectionError:
        return


def sign_up(url: str, ledger: Ledger) -> None:
    """One more user, if the server lives long enough to say so."""
    name = f"user{len(ledger.users)}-{time.monotonic_ns()}"
    try:
        answer = requests.post(f"{url}/user", data={"username": name, "password": PASSWORD}, timeout=10)
    except requests.ConnectionError:
        return
    answer.raise_for_status()
    ledger.users.append(name)


def log_in(url: str, name: str) -> str:
    """A token for a user."""
    answer = requests.post(f"{url}/token", data={"username": name, "password": PASSWORD}, timeout=30)
    answer.raise_for_status()
    token: str = answer.json()["access_token"]
    return token


def last_events(url: str, token: str, ledger: Ledger) -> dict[str, dict[str, Any]]:
    """The last event of every acknowledged task, once all have ended."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    events: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + PATIENCE
    # One after the other, so that asking does not take the time of what is asked about.
    for task_id in ledger.tasks:
        while True:
            answer = session.get(f"{url}/task/{task_id}", timeout=30)
            events[task_id] = answer.json() if answer.ok else {"event_type": "missing"}
            ended = events[task_id]["event_type"] in ("finished", "cancelled", "missing")
            if ended or time.monotonic() > deadline:
                break
            time.sleep(0.2)
    return events


def missing_blobs(url: str, token: str, wanted: dict[str, bytes | None]) -> int:
    """How many images are not there, or not what was sent."""
    missing = 0
    for blob_id, content in wanted.items():
        answer = requests.get(f"{url}/blob/{blob_id}", headers={"Authorization": f"Bearer {token}"}, timeout=30)
        missing += not (answer.ok and answer.content == (content or answer.content))
    return missing


def inspect(database: Path, ledger: Ledger) -> dict[str, Any]:
    """What the database itself says, after the last kill."""
    with sqlite3.connect(database) as plain:
        integrity = plain.execute("PRAGMA integrity_check").fetchone()[0]
        contents = [(task, json.loads(text)) for task, text in plain.execute("SELECT task_id, content FROM events")]
        blobs = {blob for (blob,) in plain.execute("SELECT id FROM blobs")}
        names = {name for (name,) in plain.execute("SELECT name FROM users")}
    plain.close()
    ends = Counter(task for task, content in contents if content["event_type"] in ("finished", "cancelled"))
    made = {image["blob_id"] for _, content in contents for image in content.get("images", ())}
    return {
        "integrity": integrity,
        "ended_twice": sum(count > 1 for count in ends.values()),
        # Pictures that no event tells of, and that nobody can have sent.
        "stray_blobs": max(0, len(blobs - made) - ledger.uploads_tried),
        "missing_users": len(set(ledger.users) - names),
        "restarted_while_running": sum(content["event_type"] == "pending" for _, content in contents)
        - len({task for task, _ in contents}),
    }


@click.command()
@click.option("--rounds", default=30, show_default=True)
@click.option("--longest", default=6.0, show_default=True, help="Seconds that a server lives at most, once tasks run.")
@click.option("--seed", default=0, show_default=True)
def main(rounds: int, longest: float, seed: int) -> None:
    """Kill a server again and again, and look for what is missing."""
    result = run(rounds, longest, seed)
    for key, value in result.items():
        print(f"{key:>24}  {value}")
    print(json.dumps(result))


def run(rounds: int, longest: float, seed: int = 0, popen: Any = subprocess.Popen) -> dict[str, Any]:
    """Kill a server again and again; what is missing.

    Args:
        rounds: how often.
        longest: seconds that a server lives at most, once tasks run.
        seed: of all that is left to chance.
        popen: starts a server: ``subprocess.Popen`` or what takes its place.
    """
    chance = random.Random(seed)
    ledger = Ledger()
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        server = Server(folder, popen)
        sign_up(server.url, ledger)
        token = log_in(server.url, ledger.users[0])
        for number in range(rounds):
            seeds = [chance.random() for _ in range(CLIENTS)]
            clients = [
                threading.Thread(target=work, args=(server.url, token, ledger, random.Random(own))) for own in seeds
            ]
            clients.append(threading.Thread(target=sign_up, args=(server.url, ledger)))
            for client in clients:
                client.start()
            if number % 2 == 0:
                # From then on tasks run; the other servers are mostly killed while they load.
                server.wait_until_ready()
            time.sleep(chance.uniform(0.2, longest))
            server.kill()
            for client in clients:
                client.join()
            print(f"round {number + 1}: {len(ledger.tasks)} tasks, {len(ledger.blobs)} images acknowledged")
            server = Server(folder, popen)

        events = last_events(server.url, token, ledger)
        made = {image["blob_id"] for event in events.values() for image in event.get("images", ())}
        kinds = Counter(event["event_type"] for event in events.values())
        result = {
            "rounds": rounds,
            "tasks": len(ledger.tasks),
            **{kind: kinds[kind] for kind in ("finished", "cancelled", "missing", "started", "pending")},
            "cancelled_by_nobody": sum(
                event["event_type"] == "cancelled" and task not in ledger.cancelled for task, event in events.items()
            ),
            "cancelled_and_not": sum(events[task]["event_type"] != "cancelled" for task in ledger.cancelled),
            "blobs": len(ledger.blobs),
            "missing_blobs": missing_blobs(server.url, token, {**ledger.blobs, **dict.fromkeys(made)}),
        }
        server.kill()
        return result | inspect(folder / "data" / "server.sqlite", ledger)


if __name__ == "__main__":
    main()
