"""What one client can send, and whether the others notice it.

    python benchmarks/attack.py
    python benchmarks/attack.py --only bodies --size 20

A server process gets each attack in turn, while another client asks for ``/ping`` all the time. One line for each, with
what was measured beside the limit, and whether all is well; the exit status says so, too. All stays on this machine.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import click
from attack_bodies import BODIES, draw_prompts, read_prompts, send_body, send_many
from attack_clusters import halt_redis, race_for_a_limit, restart_redis
from attack_connections import begin_badly, fill_pipe, flood_websockets, open_links, pipeline, sign_up, write_into_log
from attack_malformed import send_malformed
from attack_pictures import PICTURES, read_texts, send_pictures
from attack_stores import fill_disk, watch_task, write_protect
from attacked_server import MB, Row, Target, attacked, watching

HALF_OPEN = {
    "silent": b"",
    "a part of the headers": b"GET /ping HTTP/1.1\r\nHost: lo",
    "a part of the body": b"POST /txt2img HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n\r\nprompt=a",
    "answers that are not read": b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3,
    "a websocket without a word": b"GET /events?token=x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
}


def open_halves(target: Target, count: int, patience: float, seconds: float = 5.0) -> list[Row]:
    """Open connections of all kinds that are never finished, and wait until the server has closed them.

    Args:
        target: the server.
        count: how many.
        patience: seconds that the server has to close them.
        seconds: how long the others are watched before.
    """
    connections = []
    with watching(target) as notice:
        for number in range(count):
            connections.append(target.connect(4096))
            connections[-1].sendall(list(HALF_OPEN.values())[number % len(HALF_OPEN)])
        time.sleep(seconds)
    rows = [Row(f"{count} half-open connections", notice, f"{target.connections()} are open", 30, 300 * MB, 20)]
    with watching(target) as notice:
        deadline = time.monotonic() + patience
        # One is the watcher's own.
        while (left := target.connections()) > 1 and time.monotonic() < deadline:
            time.sleep(0.5)
    rows.append(Row("… until all are closed", notice, f"{left - 1} are left", patience, 300 * MB, 20, right=left <= 1))
    for connection in connections:
        connection.close()
    return rows


def open_silent(count: int, **options: Any) -> Row:
    """Open more connections than the process may have files; for the options see Target."""
    with attacked(descriptors=256, **options) as target:
        connections = [target.connect() for _ in range(count)]
        with watching(target) as notice:
            for _ in range(5):
                target.get("/ping")
        outcome = f"{target.connections()} are open, {len(target.output)} bytes printed"
        for connection in connections:
            connection.close()
        return Row(
            f"{count} silent ones, 256 descriptors", notice, outcome, 5, 50 * MB, 50, len(target.output) < 10_000
        )


def run(only: str | None, size: int, many: int, patience: float, report: Callable[[Row], None]) -> None:
    """Make the attacks of a group, or all.

    Args:
        only: the group; None for all.
        size: MB of each large body.
        many: how many malformed requests; connections are a tenth of it.
        patience: seconds for the server to close what is half open.
        report: called with each row.
    """
    if only in (None, "bodies", "prompts", "pictures", "crowds", "connections", "floods", "malformed"):
        with attacked() as target:
            for body in BODIES if only in (None, "bodies") else []:
                report(send_body(target, body, size))
            for row in [*read_prompts(target), *draw_prompts(target)] if only in (None, "prompts") else []:
                report(row)
            for row in [*send_pictures(target, PICTURES), read_texts(target)] if only in (None, "pictures") else []:
                report(row)
            for clients, held in ((8, False), (30, False), (30, True)) if only in (None, "crowds") else ():
                report(send_many(target, clients, size, held=held))
            for row in open_halves(target, many // 10, patience) if only in (None, "connections") else []:
                report(row)
            if only in (None, "floods"):
                token = sign_up(target)
                report(flood_websockets(target, token, 60, 20))
                report(begin_badly(target, token, 300))
                report(pipeline(target, 30, 20))
                report(write_into_log(target, 300))
                report(open_links(target, 200))
            if only in (None, "malformed"):
                report(send_malformed(target, many))
    if only in (None, "descriptors"):
        report(open_silent(300))
    if only in (None, "log"):
        report(fill_pipe(1585))
    if only in (None, "redis"):
        report(halt_redis(6, 10))
        report(restart_redis(12, 8))
        report(race_for_a_limit(20, 80))
        for waiting in (0, 15):
            report(watch_task(waiting, 3))
    if only in (None, "disk"):
        for kept in (fill_disk(24), write_protect("."), write_protect("blobs")):
            if kept is None:
                print("A disk is left out: this user may not mount one.")
            else:
                report(kept)


GROUPS = [
    "bodies",
    "prompts",
    "pictures",
    "crowds",
    "connections",
    "floods",
    "malformed",
    "descriptors",
    "log",
    "disk",
    "redis",
]


@click.command()
@click.option("--only", type=click.Choice(GROUPS))
@click.option("--size", default=60, help="MB of each large body.", show_default=True)
@click.option("--many", default=10_000, help="How many malformed requests.", show_default=True)
def main(only: str | None, size: int, many: int) -> None:
    """Print the table."""
    failed = []

    def report(row: Row) -> None:
        print(row, flush=True)
        if not row.passed:
            failed.append(row.name)

    print(f"{'attack':<44}{'time':>15}{'memory':>16}{'ping, p99':>20}")
    run(only, size, many, 60, report)
    print(f"{len(failed)} failed: {', '.join(failed)}" if failed else "All passed.")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
