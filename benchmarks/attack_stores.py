"""Attacks on what a server keeps: a disk that is full or read-only, tasks that are watched."""

import http.client
import json
import struct
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis
from attack_clusters import watched
from attack_connections import sign_up
from attacked_server import JSON, MB, PARTS, Row, attacked, small_disk, watching, write_protected
from cluster_processes import ClusterProcesses, url_of, wait_for_workers

# The header of a bitmap of 512 by 512 pixels.
BMP_SIZE = 512 * 512 * 3
BMP = struct.pack("<2sIIIIiiHHIIiiII", b"BM", 54 + BMP_SIZE, 0, 54, 40, 512, 512, 1, 24, 0, BMP_SIZE, 0, 0, 0, 0)
PICTURE_PART = (
    b'--b\r\nContent-Disposition: form-data; name="blob_data"; filename="a.bmp"\r\nContent-Type: image/bmp\r\n\r\n'
)


def fill_disk(megabytes: int, **options: Any) -> Row | None:
    """Upload until the disk is full, then delete; the folder for temporary files is full from the start.

    Args:
        megabytes: the size of the disk.
        options: see Target.

    Returns:
        None where this user may not mount a disk.
    """
    with small_disk(megabytes) as disk, small_disk(1) as temporary:
        if disk is None or temporary is None:
            return None
        with suppress(OSError):
            (temporary / "all").write_bytes(bytes(2 * MB))
        with attacked(disk / "data", environment={"TMPDIR": str(temporary)}, **options) as target:
            headers = {"Authorization": f"Bearer {sign_up(target)}", "Content-Type": PARTS}
            upload = PICTURE_PART + BMP + bytes(BMP_SIZE) + b"\r\n--b--\r\n"
            stored = []
            with watching(target) as notice:
                while (sent := target.ask("POST", "/blob", upload, headers))[0] == 200:
                    stored.append(sent[1])
                full = Counter(target.ask("POST", "/blob", upload, headers)[0] for _ in range(50))
                deleted = Counter(target.ask("DELETE", f"/blob/{blob}", b"", headers)[0] for blob in stored)
                # The database has grown, so there is room for a few less.
                uploaded = Counter(target.ask("POST", "/blob", upload, headers)[0] for _ in stored[3:])
            right = len(stored) > 3 and (set(full), set(deleted), set(uploaded)) == ({507}, {204}, {200})
            printed = len(target.output)
            outcome = f"{len(stored)} fit, {dict(full)}, {dict(deleted)}, {dict(uploaded)}, {printed} bytes printed"
            right = right and printed < 5_000
            return Row(f"a full disk of {megabytes} MB", notice, outcome, 10, 50 * MB, 50, right)


def write_protect(place: str, *, ready: bool = True) -> Row | None:
    """Let a folder of the data become read-only, and writable again.

    Args:
        place: the folder in that of the data.
        ready: see Target.

    Returns:
        None where this user may not mount a disk.
    """
    with small_disk(24) as disk:
        if disk is None:
            return None
        data = disk / "data"
        with attacked(data, ready=ready) as target:
            headers = {"Authorization": f"Bearer {sign_up(target)}", "Content-Type": PARTS}
            upload = PICTURE_PART + BMP + bytes(BMP_SIZE) + b"\r\n--b--\r\n"
            blob = target.ask("POST", "/blob", upload, headers)[1]

            def change() -> Counter[int]:
                as_json = {**headers, "Content-Type": JSON}
                sent = [
                    target.ask("POST", "/blob", upload, headers),
                    target.ask("POST", "/task", b'{"prompt": "a dog"}', as_json),
                    target.ask("POST", "/user", b'{"username": "b", "password": "long enough"}', as_json),
                    target.ask("DELETE", f"/blob/{blob}", b"", headers),
                ]
                return Counter(status for status, _ in sent)

            with write_protected(data / place), watching(target) as notice:
                refused = sum((change() for _ in range(5)), Counter())
                read = target.ask("GET", "/tasks", b"", headers)[0]
            after = change()
            outcome = f"{dict(refused)}, reading {read}, then {dict(after)}, {len(target.output)} bytes printed"
            right = max(refused) != 500 and max(after) < 500 and len(target.output) < 5_000
            # The tasks that are accepted are made meanwhile.
            return Row(f"data/{place} becomes read-only", notice, outcome, 10, 200 * MB, 50, right)


def watch_task(waiting: int, seconds: float) -> Row:
    """Watch a task of many steps while others wait: the commands of Redis for each step, beyond an idle cluster's."""
    with TemporaryDirectory() as folder, ClusterProcesses(Path(folder), enable_public_token=True) as cluster:
        cluster.start_worker()
        server = cluster.start_server()
        target = watched(server)
        wait_for_workers(url_of(server), 1)

        def add(prompt: str, steps: int) -> str:
            token = target.ask("POST", "/token/all")[1]["access_token"]
            fields = json.dumps({"prompt": prompt, "steps": steps}).encode()
            target.ask("POST", "/task", fields, {"Content-Type": JSON, "Authorization": f"Bearer {token}"})
            return str(token)

        steps = 0

        def listen(events: http.client.HTTPResponse) -> None:
            nonlocal steps
            while line := events.readline():
                steps += b'"progress"' in line

        def count(client: redis.Redis) -> tuple[int, int]:
            before = steps
            client.config_resetstat()
            time.sleep(seconds)
            return sum(each["calls"] for each in client.info("commandstats").values()), steps - before

        with cluster.redis.client() as client:
            time.sleep(1)
            idle, _ = count(client)
            token = add(f"sleep {3 * seconds}", 500)
            connection = http.client.HTTPConnection(*target.address, timeout=3 * seconds)
            connection.request("GET", f"/events/stream?progress=1&token={token}")
            threading.Thread(target=listen, args=(connection.getresponse(),), daemon=True).start()
            for _ in range(waiting):
                # Too long to overtake.
                add("sleep 1", 400)
            # Whether those that have come may begin at once is looked at before.
            time.sleep(2)
            with watching(target) as notice:
                busy, made = count(client)
        each = (busy - idle) / max(1, made)
        outcome = f"{made} steps, {each:.1f} commands each"
        # A task that runs has some commands of its own in each second.
        return Row(f"a watched task, {waiting} wait", notice, outcome, 20, 50 * MB, 50, made > 50 and each < 4.5)
