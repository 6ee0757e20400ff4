"""The network edge without a network: its socket, and its threads."""

import asyncio
import fcntl
import gzip
import socket
import struct
import sys
import termios
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import uvicorn
from running_server import serving
from tasks_server import Driven

from sd_api.errors import ConfigurationError
from sd_api.serving.bodies import Bodies, Body, NoRoom
from sd_api.serving.connection import MOST_UNSENT
from sd_api.serving.edge import Edge
from sd_api.serving.listener import listen
from sd_api.serving.memory import Trimming
from sd_api.serving.server import make_config
from sd_api.web.admission import Admission
from sd_api.web.content_coding import Unpacker
from sd_api.web.tasks.events import EventStreams
from sd_api.wiring import build_services


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "0.0.0.0"])
def test_asyncio_will_see_tcp_and_send_answers_at_once(host: str) -> None:
    """It switches Nagle's algorithm off only for connections that name their protocol; benchmarks show 40 ms."""
    with listen(host, 0) as listener:
        address = ("::1" if listener.family == socket.AF_INET6 else "127.0.0.1", listener.getsockname()[1])
        with socket.create_connection(address):
            connection, _ = listener.accept()
            with connection:
                assert connection.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize("host", [".", "ex..ample", "x" * 70, "no-such-name.invalid"])
def test_what_cannot_be_a_name_is_explained(host: str) -> None:
    with pytest.raises(ConfigurationError, match="is no address of this machine"):
        listen(host, 0)


def test_a_port_is_taken_only_once() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port: {port} is in use"):
            listen("127.0.0.1", port)


class NoEvents(EventStreams):
    def __init__(self) -> None:
        pass

    def takes(self, scope: dict[str, Any]) -> bool:
        return False


@contextmanager
def running(application: Any, trusted: tuple[str, ...] = ()) -> Iterator[tuple[uvicorn.Server, int]]:
    """A server over the edge for the length of a block, and its port."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(make_config(Edge(application, NoEvents(), max_request_bytes=100, threads=1), trusted))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield server, listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(("quick", "path"), [("GET", "/"), ("POST", "/jobs/mine/cancel")])
def test_what_is_done_at_once_is_answered_while_every_other_thread_is_busy(quick: str, path: str) -> None:
    may_end = threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/txt2img":
            assert may_end.wait(10)
        start_response("200 OK", [])
        return [b"done"]

    async def ask(edge: Edge, method: str, path: str) -> list[bytes]:
        body: list[bytes] = []
        requests = iter([{"type": "http.request"}])

        async def receive() -> dict[str, Any]:
            for message in requests:
                return message
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

        async def send(message: dict[str, Any]) -> None:
            body.append(message.get("body", b""))

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [],
            "http_version": "1.1",
        }
        await edge(scope, receive, send)
        return body

    async def run() -> None:
        edge = Edge(application, NoEvents(), max_request_bytes=100, threads=2)
        busy = [asyncio.create_task(ask(edge, "POST", "/txt2img")) for _ in range(4)]
        await asyncio.sleep(0.1)
        assert b"done" in await asyncio.wait_for(ask(edge, quick, path), 5)
        assert not any(task.done() for task in busy)
        may_end.set()
        assert all(b"done" in body for body in await asyncio.gather(*busy))

    asyncio.run(run())


def test_bodies_count_as_what_they_are_unpacked() -> None:
    async def run(packed: bytes, capacity: int) -> Body:
        messages = iter([{"type": "http.request", "body": packed, "more_body": False}])

        async def receive() -> dict[str, Any]:
            return next(messages)

        admission = Admission()
        admission.max_bytes, admission.unpacker = 10_000_000, Unpacker("gzip")
        body = Bodies(capacity, Trimming()).open()
        await body.read(receive, admission)
        return body

    content = bytes(5_000_000)
    body = asyncio.run(run(gzip.compress(content), capacity=6_000_000))
    assert (body.length, body.content.getvalue()) == (5_000_000, content)
    assert 5_000_000 < body.size < 5_100_000
    with pytest.raises(NoRoom):
        asyncio.run(run(gzip.compress(content), capacity=5_000_000))


@pytest.mark.parametrize(
    ("trusted", "client"),
    [((), "127.0.0.1"), (("10.0.0.0/8",), "127.0.0.1"), (("127.0.0.0/8",), "203.0.113.9")],
)
def test_who_the_client_is_only_a_trusted_proxy_says(trusted: tuple[str, ...], client: str) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["REMOTE_ADDR"].encode()]

    with running(application, trusted) as (_, port):
        # The first is what the client claims, the last what the proxy has seen.
        headers = {"X-Forwarded-For": "192.0.2.1, 203.0.113.9"}
        assert requests.get(f"http://127.0.0.1:{port}/", headers=headers, timeout=10).text == client


def test_a_request_that_waits_for_its_job_holds_no_memory_for_bodies(make_settings: Any) -> None:
    settings = make_settings(limits={"max_request_bytes": 100_000})
    engine = Driven()
    services = build_services(settings, make_engine=lambda: engine)
    # A field that is ignored, so that the bodies are large and the jobs are not.
    form = {"prompt": "a dog", "width": 64, "height": 64, "more": "x" * 95_000}
    with serving(settings, services) as url, ThreadPoolExecutor(6) as clients:
        answers = []
        deadline = time.monotonic() + 20
        for number in range(6):
            # One after the other, because two of them at once are as much as bodies may take together.
            answers.append(clients.submit(requests.post, f"{url}/txt2img", data=form, timeout=30))
            while len(services.queue.jobs()) <= number:
                assert time.monotonic() < deadline
                assert not answers[-1].done(), answers[-1].result().text
                time.sleep(0.01)
        engine.permissions.release(6)
        assert [answer.result().status_code for answer in answers] == [200] * 6


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say what a socket still holds")
def test_the_system_holds_little_of_an_answer_that_is_not_read() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [bytes(8 << 20)]

    with running(application) as (server, port), socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(1) == b"H"
        (connection,) = server.server_state.connections
        held, before = -1, -2
        while held != before:
            before = held
            time.sleep(0.1)
            held = struct.unpack(
                "i", fcntl.ioctl(connection.transport.get_extra_info("socket"), termios.TIOCOUTQ, bytes(4))
            )[0]
        # What the client's own system has taken is not among it.
        assert 0 < held < 3 * MOST_UNSENT
