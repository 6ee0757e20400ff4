"""Refuses requests of foreign web pages: only trusted pages and programs may use this server.

A page on any web site can make the visitor's browser post a form to ``localhost``, without
asking first, and a name in the page's own domain can be made to point here (DNS rebinding).
So the ``Host`` must be a name of this server, and an ``Origin``, which only browsers send,
must be the server's own or one that the configuration allows. Where a browser sends no ``Origin``, as for an
image or a link, ``Sec-Fetch-Site`` tells whether the request comes from another site.
"""

import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import Flask, request
from flask_cors import CORS

from sd_api.errors import RefusedCaller
from sd_api.settings import Settings
from sd_api.settings.fields import is_address, is_loopback
from sd_api.web.png_answers import HEADERS
from sd_api.web.refused_callers import RefusedCallers

LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}

# Top-level domains that public DNS never has: RFC 6762 (mDNS), the usual one of routers, and ICANN's for private use,
# under which containers know their host (host.docker.internal).
PRIVATE_DOMAINS = {"local", "lan", "internal"}

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAINS = "|".join(sorted(PRIVATE_DOMAINS))
# A single label is no domain alone, and no number, which is read as an address.
_PRIVATE_NAME = re.compile(rf"(?!(?:{_DOMAINS}|[0-9]+|0x[0-9a-f]*)$){_LABEL}|(?:{_LABEL}\.)+(?:{_DOMAINS})")


@dataclass(frozen=True)
class Fetch:
    """The headers that a browser adds to a page's request (Fetch Metadata).

    Attributes:
        method: the HTTP method.
        site: ``Sec-Fetch-Site``: cross-site, same-site, same-origin or none; None for other programs.
        destination: ``Sec-Fetch-Dest``: document for a navigation, such as a link.
    """

    method: str
    site: str | None
    destination: str | None

    @property
    def comes_from_elsewhere(self) -> bool:
        """Whether a page of another site sent the request, other than by a link to this server."""
        reads = self.method in ("GET", "HEAD", "OPTIONS")
        if self.site == "cross-site":
            return not (reads and self.destination == "document")
        return self.site == "same-site" and not reads


class Callers:
    """Decides by its headers whether a request is allowed.

    Args:
        settings: the names of this server, and the pages that are trusted.
    """

    def __init__(self, settings: Settings) -> None:
        self._hosts = _own_names(settings.host) | {
            host.lower().strip("[]").removesuffix(".") for host in settings.allowed_hosts
        }
        self._origins = set(settings.allowed_origins)
        self._beyond_loopback = not is_loopback(settings.host)

    def check(self, host: str, origin: str | None, fetch: "Fetch | None" = None) -> None:
        """Refuse a request by its headers.

        Args:
            host: the ``Host`` header.
            origin: the ``Origin`` header, which only browsers send.
            fetch: the browser's Fetch Metadata; None if unknown.

        Raises:
            RefusedCaller: a header is not allowed; the message says how to allow it.
        """
        name = _name_of(host)
        if name not in self._hosts and not (self._beyond_loopback and _is_private(name)):
            raise RefusedCaller(
                f"Host {host[:100]!r} is not a name of this server. If it is one, "
                'add it to "allowed_hosts" in the configuration.',
                "Host",
                name or host,
            )
        if origin is None:
            if fetch is not None and fetch.comes_from_elsewhere:
                raise RefusedCaller(
                    "A web page of another site tried to use this server. If you trust that page, "
                    'add its origin to "allowed_origins" in the configuration, and let it ask with CORS.'
                )
            return
        # The Host has been checked, so a page from there is this server's own.
        if origin.lower() in self._origins or origin in (f"http://{host}", f"https://{host}"):
            return
        raise RefusedCaller(
            f"A web page of {origin[:100]!r} tried to use this server. If you trust that page, "
            'add its origin to "allowed_origins" in the configuration.',
            "Origin",
            origin,
        )


class Guard:
    """Refuses callers, and remembers whom it refused.

    Args:
        callers: what decides.
        refused: what remembers.
    """

    def __init__(self, callers: Callers, refused: RefusedCallers) -> None:
        self._callers = callers
        self._refused = refused

    def check(self, host: str, origin: str | None, fetch: Fetch | None = None) -> None:
        """See Callers."""
        try:
            self._callers.check(host, origin, fetch)
        except RefusedCaller as error:
            self._refused.add(error)
            raise


def install_guards(app: Flask, settings: Settings, guard: Guard) -> None:
    """Check the Host and the Origin of every request before anything else is done."""

    def check() -> None:
        # The raw header, because werkzeug's ``host`` drops names with an underscore, which Windows allows.
        headers = request.headers
        fetch = Fetch(request.method, headers.get("Sec-Fetch-Site"), headers.get("Sec-Fetch-Dest"))
        guard.check(request.environ.get("HTTP_HOST", ""), headers.get("Origin"), fetch)

    app.before_request(check)
    if settings.allowed_origins:
        # As patterns, because flask-cors takes text that looks like one, such as an IPv6 address, for a pattern.
        CORS(
            app,
            origins=[re.compile(re.escape(origin) + r"\Z") for origin in sorted(settings.allowed_origins)],
            allow_private_network=True,
            expose_headers=["X-Job-Id", *HEADERS],
        )


def _name_of(host_header: str) -> str:
    """The name or address without its port, normalized for comparison; empty if the header is malformed."""
    try:
        parts = urlsplit(f"//{host_header}")
        # The header may have only a name and a port, so "evil.example@localhost" is malformed.
        well_formed = parts.netloc == host_header and "@" not in host_header
        return (parts.hostname or "").removesuffix(".") if well_formed else ""
    except ValueError:
        return ""


def _is_private(name: str) -> bool:
    """Whether a name is an address, or a name that public DNS cannot make point to this server."""
    return is_address(name) or (len(name) <= 253 and _PRIVATE_NAME.fullmatch(name) is not None)


def _own_names(host: str) -> set[str]:
    names = LOOPBACK_NAMES | {host.lower().strip("[]")}
    # With a domain, it is no private name.
    return names if is_loopback(host) else names | {socket.gethostname().lower()}
