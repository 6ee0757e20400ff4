"""Listening to a real server, by websocket and by server-sent events."""

import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image
from server_process import ServerProcess
from task_calls import QUICK
from task_session import LONG, TaskSession, hear, hear_until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect


@pytest.fixture(scope="module")
def server(fork_server: Any) -> ServerProcess:
    started: ServerProcess = fork_server(enable_public_token=True, allowed_origins=["https://studio.example"])
    started.wait_until("ready")
    return started


@pytest.fixture
def ann(server: ServerProcess) -> TaskSession:
    return TaskSession(server.url)


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["event_type"] for event in events]


def test_the_documented_events_come_in_order(ann: TaskSession) -> None:
    with ann.listening() as connection:
        task_id = ann.create(**QUICK)
        events = hear_until(connection, "finished")
    assert kinds(events) == ["pending", "started", "finished"]
    assert {event["task_id"] for event in events} == {task_id}
    assert events[-1] == ann.event(task_id)
    ids = [event["event_id"] for event in events]
    assert ids == sorted(set(ids))


def test_progress_comes_when_asked_for(ann: TaskSession) -> None:
    with ann.listening("&progress=1") as connection:
        ann.create(**QUICK | {"steps": 10})
        events = hear_until(connection, "finished")
    steps = [event for event in events if event["event_type"] == "progress" and event["phase"] == "denoising"]
    assert len(steps) >= 5
    assert all(event["steps"] == 11 and "seconds_left" in event for event in steps)
    assert [event["step"] for event in steps] == sorted(event["step"] for event in steps)
    documented = [event for event in events if event["event_type"] != "progress"]
    assert kinds(documented) == ["pending", "started", "finished"]


def test_every_listener_of_a_user_hears_and_nobody_else(ann: TaskSession, server: ServerProcess) -> None:
    bob = TaskSession(server.url)
    with ann.listening() as first, ann.listening() as second, bob.listening() as others:
        ann.create(**QUICK)
        assert hear_until(first, "finished") == hear_until(second, "finished")
        with pytest.raises(TimeoutError):
            others.recv(timeout=0.2)


def test_missed_events_come_once_and_in_order(ann: TaskSession) -> None:
    with ann.listening() as connection:
        ann.create(**QUICK)
        known = hear(connection)["event_id"]
    ann.wait(ann.create(**QUICK))
    with ann.listening(f"&since={known}") as connection:
        # While the missed ones are sent, others happen.
        ann.create(**QUICK)
        events = [hear(connection) for _ in range(8)]
    assert kinds(events).count("finished") == 3
    ids = [event["event_id"] for event in events]
    assert ids == sorted(set(ids))
    assert ids[0] > known


def test_previews_come_when_asked_for_and_are_their_owners_alone(ann: TaskSession, server: ServerProcess) -> None:
    bob = TaskSession(server.url)
    with ann.listening("&preview=1") as looking, ann.listening("&progress=1") as plain:
        task_id = ann.create(**LONG | {"width": 128, "height": 96})
        shown: list[str] = []
        while len(shown) < 2:
            event = hear(looking)
            shown += [event["preview_blob_id"]] if "preview_blob_id" in event else []
        answer = ann.call("GET", f"/blob/{shown[-1]}")
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
        assert Image.open(BytesIO(answer.content)).size == (16, 12)
        assert bob.call("GET", f"/blob/{shown[-1]}").status_code == 404
        # It is no image that is kept.
        assert ann.call("DELETE", f"/blob/{shown[-1]}").status_code == 404
        assert ann.call("POST", "/task", json={"prompt": "x", "initial_image": shown[-1]}).status_code == 422
        ann.call("DELETE", f"/task/{task_id}")
        assert ann.call("GET", f"/blob/{shown[-1]}").status_code == 404
        assert all("preview_blob_id" not in event for event in hear_until(plain, "cancelled"))
    assert len(set(shown)) == 2


def test_a_cancelled_task_has_an_event(ann: TaskSession) -> None:
    with ann.listening() as connection:
        task_id = ann.create(**LONG)
        hear_until(connection, "started")
        ann.call("DELETE", f"/task/{task_id}")
        assert hear(connection)["reason"] == "This task was cancelled."


@pytest.mark.parametrize("query", ["", "?token=", "?token=nonsense", "?token=a.b.c"])
def test_without_a_valid_token_a_websocket_is_closed_with_1008(server: ServerProcess, query: str) -> None:
    with connect(f"{server.url.replace('http', 'ws', 1)}/events{query}", proxy=None) as connection:
        with pytest.raises(ConnectionClosed) as caught:
            connection.recv(timeout=10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1008


@pytest.mark.parametrize(
    ("frame", "count"), [(b"\x89\x80", 5000), (b"\x8a\x80", 5000), (b"\x00\x80", 5000), (b"\x81\xff", 20)]
)
def test_who_sends_too_much_is_closed_with_1008(ann: TaskSession, frame: bytes, count: int) -> None:
    body = b"\0" * 4 if frame[1] == 0x80 else b"\0" * 6 + b"\x02\x58" + b"\0" * 4 + b"\xff" * 600
    with ann.listening() as connection:
        if frame == b"\x00\x80":
            connection.socket.sendall(b"\x01" + frame[1:] + body)
        connection.socket.sendall((frame + body) * count)
        with pytest.raises(ConnectionClosed) as caught:
            connection.recv(timeout=10)
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1008, "Clients only listen here; too much came.")


def test_messages_of_clients_are_dropped(ann: TaskSession) -> None:
    with ann.listening() as connection:
        for message in ("hello", b"\xff", ["in ", "pieces"]):
            connection.send(message)
        connection.send(b"\xff", text=True)
        connection.ping().wait(10)
        ann.create(**QUICK)
        hear_until(connection, "finished")


def test_a_client_has_so_many_listeners(server: ServerProcess) -> None:
    cat = TaskSession(server.url)
    url = f"{server.url}/events/stream?token={cat.token}"
    with contextlib.ExitStack() as stack:
        answers = [stack.enter_context(requests.get(url, stream=True, timeout=10)) for _ in range(65)]
        assert [answer.status_code for answer in answers] == [200] * 64 + [429]
        assert answers[-1].json()["detail"] == "64 connections of yours listen to events already; close some of them."


def test_an_id_that_is_none_is_refused(ann: TaskSession) -> None:
    with ann.listening("&since=yesterday") as connection:
        with pytest.raises(ConnectionClosed) as caught:
            connection.recv(timeout=10)
        assert caught.value.rcvd is not None
        assert "since is 'yesterday'" in caught.value.rcvd.reason


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}])
def test_web_pages_cannot_listen(ann: TaskSession, server: ServerProcess, headers: dict[str, str]) -> None:
    if "Origin" in headers:
        with pytest.raises(InvalidStatus, match="403"), ann.listening(origin=headers["Origin"]):
            pass
    answer = requests.get(f"{server.url}/events/stream?token={ann.token}", headers=headers, timeout=10, stream=True)
    assert answer.status_code == 403
    assert set(answer.json()) == {"detail"}


def test_a_page_that_is_trusted_can(ann: TaskSession, server: ServerProcess) -> None:
    with ann.listening(origin="https://studio.example") as connection:
        ann.create(**QUICK)
        hear_until(connection, "finished")
    headers = {"Origin": "https://studio.example"}
    with requests.get(
        f"{server.url}/events/stream?token={ann.token}", headers=headers, timeout=10, stream=True
    ) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "https://studio.example"


@pytest.mark.parametrize(
    ("method", "further"),
    [
        ("POST", "Content-Length: 1"),
        ("GET", "Content-Length: 1"),
        ("GET", "Transfer-Encoding: chunked"),
        ("GET", "\r\n".join(["X: y"] * 200)),
        ("GET", "X: " + "y" * 9000),
    ],
)
def test_a_websocket_that_begins_badly_is_a_400_and_closed(server: ServerProcess, method: str, further: str) -> None:
    lines = [f"{method} /events HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13", further, "", "x"]
    with socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port), 10) as connection:
        connection.sendall("\r\n".join(lines).encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"A websocket begins with a short GET request" in answer


def test_requests_far_ahead_of_their_answers_are_not_read(server: ServerProcess) -> None:
    with socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port), 10) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10)
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200_000)
            pytest.fail("8 MB were taken")


def test_another_path_has_no_websocket(ann: TaskSession, server: ServerProcess) -> None:
    with (
        pytest.raises(InvalidStatus, match="403"),
        connect(f"{server.url.replace('http', 'ws', 1)}/task?token={ann.token}", proxy=None),
    ):
        pass


def received(answer: requests.Response, count: int) -> list[dict[str, Any]]:
    """The next events of a stream, each with the id that the protocol gave it."""
    events: list[dict[str, Any]] = []
    event_id = None
    for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
        if line.startswith("id: "):
            event_id = int(line[4:])
        elif line.startswith("data: "):
            events.append(json.loads(line[6:]) | {"sse_id": event_id})
            event_id = None
            if len(events) == count:
                break
    return events


def test_the_same_as_server_sent_events(ann: TaskSession) -> None:
    with ann.call("GET", "/events/stream", stream=True) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        ann.create(**QUICK)
        events = received(answer, 3)
    assert kinds(events) == ["pending", "started", "finished"]
    assert all(event["event_id"] == event["sse_id"] for event in events)
    # A browser comes back with the id of the last event that it has.
    with ann.call("GET", "/events/stream", stream=True, headers={"Last-Event-ID": str(events[0]["event_id"])}) as again:
        assert received(again, 2) == events[1:]


def test_a_stream_needs_a_token(server: ServerProcess) -> None:
    answer = requests.get(f"{server.url}/events/stream", timeout=10)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/events/stream", 405), ("GET", "/events", 426)])
def test_other_ways_are_explained(ann: TaskSession, method: str, path: str, status: int) -> None:
    answer = ann.call(method, path)
    assert answer.status_code == status
    assert set(answer.json()) == {"detail"}


def deaf(session: TaskSession) -> socket.socket:
    """A listener that asks for everything and reads nothing."""
    parts = urlsplit(session.url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.connect((parts.hostname, parts.port))
    connection.sendall(
        f"GET /events?token={session.token}&progress=1 HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    return connection


def test_a_listener_that_does_not_read_delays_nobody(ann: TaskSession, server: ServerProcess) -> None:
    others = [deaf(ann) for _ in range(20)]
    try:
        with ann.listening("&progress=1") as connection:
            # More than a connection has room for.
            for _ in range(2):
                ann.create(**QUICK | {"steps": 250})
            started = time.monotonic()
            for _ in range(2):
                hear_until(connection, "finished")
            assert time.monotonic() - started < 60
            with ThreadPoolExecutor(4) as threads:
                pings = list(threads.map(lambda _: requests.get(f"{server.url}/ping", timeout=5).ok, range(20)))
            assert all(pings)
    finally:
        for other in others:
            other.close()


def test_tokens_do_not_show_in_the_terminal(ann: TaskSession, server: ServerProcess) -> None:
    with ann.listening():
        assert ann.token not in server.output


def test_ctrl_c_sends_listeners_away(fork_server: Any) -> None:
    server = fork_server(enable_public_token=True)
    server.wait_until("ready")
    ann = TaskSession(server.url)
    with ann.listening() as connection, ann.call("GET", "/events/stream", stream=True) as stream:
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 5
        with pytest.raises(ConnectionClosed) as caught:
            connection.recv(timeout=10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1012
        assert next(stream.iter_lines()) == b": welcome"
    assert "Traceback" not in server.output
