"""Attacks on connections: websockets that are flooded, requests that are sent without waiting, signs for the log."""

import http.client
import json
import os
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from attacked_server import FORM, JSON, MB, Row, Target, attacked, watching

_WEBSOCKET = (
    "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)

_AT_ONCE = 16

# Frames of clients are masked; here with zeros.
_EMPTY_FRAME = b"\x89\x80\0\0\0\0"
_LONG_FRAME = b"\x82\xff" + (60 * MB).to_bytes(8, "big") + b"\0\0\0\0"


def sign_up(target: Target) -> str:
    """The token of a new user."""
    target.ask("POST", "/user", b'{"username": "a", "password": "long enough"}', {"Content-Type": JSON})
    answer = target.ask("POST", "/token", b"username=a&password=long+enough", {"Content-Type": FORM})[1]
    return str(answer["access_token"])


def flood_websockets(target: Target, token: str, count: int, size: int) -> Row:
    """Send ``size`` MB on each of many websockets: pings of no bytes, and one message that is too long."""
    ends: Counter[str] = Counter()

    def flood(number: int) -> None:
        with target.connect() as connection:
            connection.sendall(f"GET /events?token={token} HTTP/1.1\r\n{_WEBSOCKET}\r\n".encode())
            opened = connection.recv(4096).startswith(b"HTTP/1.1 101")
            frames = _EMPTY_FRAME * (MB // 8) if number % 2 else _LONG_FRAME + bytes(MB)
            ends[_sent_until_closed(connection, frames, size) if opened else "refused"] += 1

    return _at_once(target, f"{count} websockets that send {size} MB", flood, count, {"closed"}, ends)


def begin_badly(target: Target, token: str, count: int) -> Row:
    """Begin websockets with a body, in chunks too, and with a second request behind."""
    ends: Counter[str] = Counter()
    begins = [
        f"GET /events?token={token} HTTP/1.1\r\n{_WEBSOCKET}Content-Length: 100\r\n\r\n" + "x" * 100,
        f"GET /events?token={token} HTTP/1.1\r\n{_WEBSOCKET}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        f"POST /events?token={token} HTTP/1.1\r\n{_WEBSOCKET}\r\n",
    ]

    def begin(number: int) -> None:
        with target.connect() as connection:
            connection.sendall(begins[number % len(begins)].encode())
            status = connection.recv(4096).split(b" ", 2)[1].decode()
            ends[status] += 1

    return _at_once(target, f"{count} websockets that begin badly", begin, count, {"400", "405", "426"}, ends)


def pipeline(target: Target, count: int, size: int) -> Row:
    """Send ``size`` MB of requests on each connection, without reading an answer."""
    ends: Counter[str] = Counter()
    asked = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * (MB // 48)

    def send(_: int) -> None:
        with target.connect(4096) as connection:
            ends[_sent_until_closed(connection, asked, size)] += 1

    return _at_once(target, f"{count} connections with {size} MB of requests", send, count, {"closed"}, ends)


def _sent_until_closed(connection: socket.socket, piece: bytes, times: int) -> str:
    try:
        for _ in range(times):
            connection.sendall(piece)
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return "still open"
    except OSError:
        pass
    return "closed"


def _at_once(
    target: Target, name: str, attack: Callable[[int], None], count: int, right: set[str], ends: Counter[str]
) -> Row:
    # Many more threads would keep the client that watches from measuring.
    with ThreadPoolExecutor(_AT_ONCE) as threads, watching(target) as notice:
        list(threads.map(attack, range(count)))
    outcome = ", ".join(f"{number} {end}" for end, number in ends.items())
    return Row(name, notice, outcome, 40, 100 * MB, 50, set(ends) <= right and sum(ends.values()) == count)


def open_links(target: Target, count: int) -> Row:
    """Open the links of many pictures at once, which all have to be converted, each several times."""
    fields = {"prompt": "a dog", "n": 4, "quality": "low", "output_format": "webp", "response_format": "url"}
    answer = target.ask("POST", "/v1/images/generations", json.dumps(fields).encode(), {"Content-Type": JSON})[1]
    paths = [urlsplit(picture["url"]).path for picture in answer["data"]]
    before = target.memory()
    ends: Counter[str] = Counter()

    def get(number: int) -> None:
        connection = http.client.HTTPConnection(*target.address, timeout=60)
        connection.request("GET", paths[number // 4 % len(paths)])
        ends[str(len(connection.getresponse().read()) > 1000)] += 1
        connection.close()

    row = _at_once(target, f"{count} links of pictures", get, count, {"True"}, ends)
    # Memory goes back a second after the last one.
    time.sleep(3)
    left = (target.memory() - before) // MB
    row.outcome = f"{left} MB are left of it"
    row.right = row.right and left < 20
    return row


def write_into_log(target: Target, count: int) -> Row:
    """Send line breaks, signs that steer a terminal, and long texts wherever the log might show them."""
    before = len(target.output)
    signs = "%0a%0d2026-01-01 ERROR forged%1b[2J%c2%9b2J%e2%80%ae"
    with watching(target) as notice:
        for number in range(count):
            with target.connect() as connection:
                connection.sendall(
                    f"GET /{signs}{number} HTTP/1.1\r\nHost: {'x' * 3000}\r\nOrigin: http://a\x1b[2Jb\r\n"
                    f"User-Agent: \x1b]0;forged\x07\r\nX-Forwarded-For: \x1b[31m{number}\r\n\r\n".encode("latin-1")
                )
                connection.recv(4096)
    printed = target.output[before:]
    forged = len(re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]|^2026-01-01 ERROR forged", printed, re.MULTILINE))
    outcome = f"{len(printed)} bytes printed, {forged} forged"
    right = not forged and len(printed) < 10_000
    return Row(f"{count} requests with signs for the log", notice, outcome, count / 20, 50 * MB, 50, right)


def _at_once_or_not(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def fill_pipe(count: int, **options: Any) -> Row:
    """Send bad requests to a server whose output is a full pipe that nobody reads, then close the terminal.

    Args:
        count: how many.
        options: see Target.
    """
    with attacked(read=False, **options) as target:
        # Equal lines are counted, so those of the server alone would not fill it. Not every system has this path.
        with suppress(OSError), open(f"/proc/{target.process_id}/fd/1", "wb", 0, opener=_at_once_or_not) as pipe:
            while pipe.write(bytes(4096)):
                pass
        with watching(target) as notice:
            for _ in range(count):
                with target.connect() as connection:
                    connection.sendall(b"BAD\r\n\r\n")
            target.get("/ping")
        started = time.monotonic()
        os.kill(target.process_id, signal.SIGHUP)
        status = target.wait(10)
        outcome = f"ends with {status} {time.monotonic() - started:.1f} s after SIGHUP"
    return Row(f"{count} bad requests, nobody reads the log", notice, outcome, count / 50, 50 * MB, 50, status == 0)
