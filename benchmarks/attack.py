"""What one client can send, and whether the others notice it.

    python benchmarks/attack.py
    python benchmarks/attack.py --only bodies --size 20

A server process gets each attack in turn, while another client asks for ``/ping`` all the time. One line for each, with
what was measured beside the limit, and whether all is well; the exit status says so, too. All stays on this machine.
"""

import gzip
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import click
from attack_clusters import halt_redis, race_for_a_limit, restart_redis
from attack_connections import begin_badly, fill_pipe, flood_websockets, open_links, pipeline, sign_up, write_into_log
from attack_stores import fill_disk, watch_task, write_protect
from attacked_server import FORM, JSON, MB, PARTS, Row, Target, attacked, watching

PART = b'--b\r\nContent-Disposition: form-data; name="init_image"'
A1111 = "/sdapi/v1/img2img"
IMAGE = b"prompt=a&init_image="


@dataclass(frozen=True)
class Body:
    """A body that costs much more than its size where it is read without care.

    Attributes:
        name: for the table.
        path: where it is posted.
        kind: its content type.
        start: how it begins.
        unit: what is repeated then.
        status: the answer.
        chunked: whether it is framed already.
        end: how it ends.
        packed: whether it is sent as gzip; then its size is that of what is unpacked.
    """

    name: str
    path: str
    kind: str
    start: bytes
    unit: bytes
    status: int
    chunked: bool = False
    packed: bool = False
    end: bytes = b""


BODIES = [
    Body("a form of % signs, /token", "/token", FORM, b"a=", b"%", 413),
    Body("a form of % signs, /txt2img", "/txt2img", FORM, b"a=", b"%", 400),
    Body("a form of %41, /user", "/user", FORM, b"a=", b"%41", 413),
    Body("a form of %41, /txt2img", "/txt2img", FORM, b"a=", b"%41", 400),
    Body("a form of a=1&, /token", "/token", FORM, b"", b"a=1&", 413),
    Body("a form of a=1&, /txt2img", "/txt2img", FORM, b"", b"a=1&", 413),
    Body("base64, %0A after each letter", "/img2img", FORM, IMAGE, b"A%0A", 400),
    Body("base64, a line break after each letter", "/img2img", FORM, IMAGE, b"A\n", 400),
    Body("base64, a space after each letter", "/img2img", FORM, IMAGE, b"A+", 400),
    Body("JSON [],[],…, /user", "/user", JSON, b"[", b"[],", 413),
    Body("JSON [],[],…, /task without a token", "/task", JSON, b"[", b"[],", 401),
    Body("JSON [[[[…, /token", "/token", JSON, b"", b"[", 413),
    Body("chunks of one byte", "/txt2img", FORM, b"", b"1\r\na\r\n", 400, chunked=True),
    Body("chunks with long extensions", "/txt2img", FORM, b"", b"1;" + b"x" * 400 + b"\r\na\r\n", 400, chunked=True),
    Body("a header of a part without an end", "/txt2img", PARTS, PART, b"x", 400),
    Body("a form of many parts", "/txt2img", PARTS, b"", PART + b"\r\n\r\nx\r\n", 413),
    Body("a part of almost boundaries", "/img2img", PARTS, PART + b"\r\n\r\n", b"\r\n--", 400),
    Body("gzip of base64, a space after each letter", "/img2img", FORM, IMAGE, b"A+", 400, packed=True),
    Body("gzip of %41, /txt2img", "/txt2img", FORM, b"a=", b"%41", 400, packed=True),
    Body("gzip of a form of a=1&, /token", "/token", FORM, b"", b"a=1&", 413, packed=True),
    Body("JSON [],[],…, /v1/images/generations", "/v1/images/generations", JSON, b"[", b"[],", 413),
    Body("JSON of one number, /v1/images/edits", "/v1/images/edits", JSON, b'{"image":', b"1", 413, end=b"}"),
    Body("JSON of one text, /v1/images/edits", "/v1/images/edits", JSON, b'{"image":"', b"QUJD", 400, end=b'"}'),
    Body("a form of many parts, /v1/images/edits", "/v1/images/edits", PARTS, b"", PART + b"\r\n\r\nx\r\n", 413),
    Body("JSON [],[],…, /sdapi/v1/img2img", A1111, JSON, b"[", b"[],", 413),
    Body("JSON of one number, /sdapi/v1/img2img", A1111, JSON, b'{"init_images":', b"1", 413, end=b"}"),
    Body("JSON of one text, /sdapi/v1/img2img", A1111, JSON, b'{"init_images":["', b"QUJD", 422, end=b'"]}'),
    Body("JSON of escapes, /sdapi/v1/img2img", A1111, JSON, b'{"init_images":["', b"\\u0041", 422, end=b'"]}'),
    Body("JSON of quotation marks, /sdapi/v1/img2img", A1111, JSON, b'{"init_images":["', b'\\"', 413, end=b'"]}'),
    Body("an image without a token, /blob", "/blob", "image/png", b"", b"\x89PNG", 401),
]


def send_body(target: Target, body: Body, size: int) -> Row:
    """Post one body of ``size`` MB."""
    content = memoryview(body.start + body.unit * ((size * MB - len(body.start)) // len(body.unit)) + body.end)
    if body.packed:
        content = memoryview(gzip.compress(content, 1))
    framing = "Transfer-Encoding: chunked" if body.chunked else f"Content-Length: {len(content)}"
    if body.packed:
        framing += "\r\nContent-Encoding: gzip"
    with watching(target) as notice:
        status = post(target, body.path, body.kind, framing, content)
    # The body itself, and one and a half of it to read it.
    return Row(body.name, notice, str(status), 1, size * MB * 5 // 2, 50, right=status == body.status)


def post(target: Target, path: str, kind: str, framing: str, content: memoryview) -> int:
    """Post a body to its end, as careless clients do; the status, 0 if the connection is lost without one."""
    with target.connect() as connection:
        try:
            connection.sendall(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n".encode()
            )
            for start in range(0, len(content), MB):
                connection.sendall(content[start : start + MB])
        except OSError:
            pass  # Refused in the middle of it; the answer may be there all the same.
        return answer(connection)


def answer(connection: socket.socket) -> int:
    """The status that a connection answers with."""
    try:
        words = connection.recv(4096).split(b" ", 2)
    except OSError:
        return 0
    return int(words[1]) if len(words) == 3 and words[1].isdigit() else 0


def send_many(target: Target, clients: int, size: int, *, held: bool) -> Row:
    """Post large forms at once, which are whole or lack their last byte."""
    content = memoryview(IMAGE + b"A" * (size * MB))
    framing = f"Content-Length: {len(content) + held}"
    statuses: Counter[int] = Counter()

    def client() -> None:
        statuses[post(target, "/img2img", FORM, framing, content)] += 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    with watching(target) as notice:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    what = "held one byte short" if held else "whole"
    right = set(statuses) <= {400, 408, 503}
    return Row(f"{clients} bodies of {size} MB, {what}", notice, str(dict(statuses)), 45, 1000 * MB, 250, right)


HALF_OPEN = {
    "silent": b"",
    "a part of the headers": b"GET /ping HTTP/1.1\r\nHost: lo",
    "a part of the body": b"POST /txt2img HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n\r\nprompt=a",
    "answers that are not read": b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3,
    "a websocket without a word": b"GET /events?token=x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
}


def open_halves(target: Target, count: int, patience: float) -> list[Row]:
    """Open connections of all kinds that are never finished, and wait until the server has closed them."""
    connections = []
    with watching(target) as notice:
        for number in range(count):
            connections.append(target.connect(4096))
            connections[-1].sendall(list(HALF_OPEN.values())[number % len(HALF_OPEN)])
        time.sleep(5)
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


HOSTILE = [
    "",
    "0",
    "-1",
    "9" * 400,
    "NaN",
    "1e999",
    "null",
    "\x00",
    "💥" * 50,
    "../../etc/passwd",
    "%",
    "%zz",
    "a" * 9000,
]
PATHS = ["/txt2img", "/img2img", "/masking", "/custom/x", "/token", "/user", "/user/%00", "/task", "/tasks", "/blob"]
PATHS += [
    "/blob/x",
    "/jobs/x/cancel",
    "/events/stream",
    "/events",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/images/results/x",
    "/v1/models/%00",
    "/sdapi/v1/txt2img",
    "/sdapi/v1/img2img",
    "/sdapi/v1/options",
    "/sdapi/v1/interrupt",
    "/sdapi/v1/png-info",
    "/sdapi/v1/progress?skip_current_image=%ff",
    "/docs/../x",
    "//ping",
    "/%ff",
    "/" + "x" * 2000,
    "*",
]
KINDS = [
    FORM,
    PARTS,
    JSON,
    "",
    "multipart/form-data",
    "image/png",
    "text/plain; charset=utf-16",
    "x" * 500,
    "a/b; c=\xff",
]
LINES = ["Content-Length: -1", "Content-Length: 5x", "Transfer-Encoding: gzip", "Host: evil", "Host: ", "Origin: null"]
LINES += ["Authorization: Bearer " + "x" * 500, "Authorization: Basic \xff", "Range: bytes=9-1", "Expect: 100-continue"]
LINES += [
    "Sec-Fetch-Site: cross-site",
    "Cookie: a=\x01",
    "no colon",
    ": no name",
    "X: " + "y" * 9000,
    "Upgrade: websocket",
]


def malformed(dice: random.Random) -> bytes:
    """A request with something wrong in it."""
    method = dice.choice(["POST"] * 8 + ["GET", "DELETE", "PUT", "OPTIONS", "HEAD", "TRACE", "P\xd6ST", "get"])
    fields = "&".join(
        f"{dice.choice(['seed', 'width', 'prompt', 'username'])}={dice.choice(HOSTILE)}" for _ in range(4)
    )
    body = dice.choice(
        [
            f"num_inference_steps=x&{fields}".encode(),
            dice.randbytes(dice.randrange(300)),
            b'{"username": ' + dice.choice([b"1", b"[]", b'"\\ud800"', b"1e999", b"9" * 5000, b"{" * 900]) + b"}",
            PART + dice.randbytes(30) + b"\r\n\r\nx\r\n--b" + dice.choice([b"", b"--", b"--\r\n"]),
            b"[" * 3000,
            b'{"prompt": 1, "image": [{}], "init_images": ["data:,", null], "n": 1e99, "size": "x", "mask": "\\ud800"}',
        ]
    )
    lines = [f"Content-Type: {dice.choice(KINDS)}", *dice.sample(LINES, dice.choice([0, 0, 1, 2]))]
    lines += dice.choice([[f"Content-Length: {len(body)}"]] * 6 + [["Transfer-Encoding: chunked"], []])
    head = "\r\n".join([f"{method} {dice.choice(PATHS)} HTTP/1.1", "Host: localhost", "Connection: close", *lines])
    return head.encode("latin-1", "replace") + b"\r\n\r\n" + body


def send_malformed(target: Target, count: int) -> Row:
    """Send seeded malformed requests: none may be the server's fault."""
    dice = random.Random(20221020)
    statuses: Counter[int] = Counter()
    with watching(target) as notice:
        for _ in range(count):
            with target.connect() as connection:
                connection.settimeout(0.5)
                connection.sendall(malformed(dice))
                statuses[answer(connection)] += 1
    faults = sum(number for status, number in statuses.items() if status >= 500)
    traces = target.output.count("Traceback")
    outcome = f"{faults} answers 5xx, {traces} tracebacks, {statuses[0]} without an answer"
    return Row(f"{count} malformed requests", notice, outcome, count / 10, 200 * MB, 50, right=not faults + traces)


def open_silent(count: int, *, ready: bool = True) -> Row:
    """Open more connections than the process may have files."""
    with attacked(descriptors=256, ready=ready) as target:
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
    if only in (None, "bodies", "crowds", "connections", "floods", "malformed"):
        with attacked() as target:
            for body in BODIES if only in (None, "bodies") else []:
                report(send_body(target, body, size))
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


GROUPS = ["bodies", "crowds", "connections", "floods", "malformed", "descriptors", "log", "disk", "redis"]


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
