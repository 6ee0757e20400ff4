"""The server, from its start until the process gets a signal to stop."""

import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence

import uvicorn
from flask import Flask
from uvicorn.server import HANDLED_SIGNALS

from sd_api.serving.connection import HEAD_SECONDS, ConnectionConfig, ConnectionTable
from sd_api.serving.descriptors import raise_limit, share
from sd_api.serving.edge import SPARE_THREADS, Edge
from sd_api.serving.listener import where, where_else
from sd_api.serving.websocket import Websocket
from sd_api.settings import Settings
from sd_api.starting import stop_signals
from sd_api.web.tasks.events import EventStreams

log = logging.getLogger(__name__)

# The longest message that is read from a websocket.
MAX_MESSAGE_BYTES = 4096

# Seconds for which a thread that computes in Python may keep others waiting. An answer passes from thread to thread
# some ten times: with Python's own 5 ms, each request beside a busy thread would take 50 ms.
SWITCH_SECONDS = 0.001

# Seconds that answers under way have to be sent once the server stops.
GRACE = 1


def serve(
    app: Flask, events: EventStreams, settings: Settings, listener: socket.socket, before_stop: Callable[[], object]
) -> None:
    """Answer requests until Ctrl-C, a request to terminate, or the end of the terminal.

    Args:
        app: the application.
        events: what serves those who listen to events.
        settings: for the limits.
        listener: what ``listen`` returned.
        before_stop: called when stopping begins, to end what requests are waiting for.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    edge = Edge(app, events, settings.limits.max_request_bytes, settings.limits.max_queued_requests + SPARE_THREADS)
    server = _Server(make_config(edge, settings.trusted_proxies), edge, before_stop)
    # uvicorn takes these signals over while it runs, and gives them back before the last steps of stopping:
    # handled like this, neither an early Ctrl-C nor an impatient second one breaks anything off.
    for number in (*HANDLED_SIGNALS, *stop_signals()):
        signal.signal(number, server.handle_exit)
    log.info("Listening on %s (Ctrl-C stops)", where(listener))
    log.info("Open this page: %s/", where(listener))
    for url in where_else(listener):
        log.info("From other machines: %s/", url)
    server.run([listener])


def make_config(edge: Edge, trusted_proxies: Sequence[str]) -> uvicorn.Config:
    """How uvicorn serves an edge.

    Args:
        edge: what is served.
        trusted_proxies: addresses and networks; only their word is taken for who a client is (X-Forwarded-For).
    """
    most, at_once = share(raise_limit())
    return ConnectionConfig(
        ConnectionTable(most),
        app=edge,
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        ws=Websocket,
        # Each compressing connection would keep its own tables.
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=GRACE,
        # A client that sends its next request as the connection is closed cannot know whether it was heard: with
        # uvicorn's 5 seconds, those that wait for a picture in between meet that often.
        timeout_keep_alive=int(HEAD_SECONDS),
        # asyncio accepts so many connections in one turn, before any of them can be refused.
        backlog=at_once,
    )


class _Server(uvicorn.Server):
    """Ends the jobs before it stops, so that their requests are answered."""

    def __init__(self, config: uvicorn.Config, edge: Edge, before_stop: Callable[[], object]) -> None:
        super().__init__(config)
        self._edge = edge
        self._before_stop = before_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._edge.stop()
        self._before_stop()
        await super().shutdown(sockets)
