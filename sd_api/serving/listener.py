"""The port that the server listens on."""

import errno
import socket
from ipaddress import ip_address

import psutil

from sd_api.errors import ConfigurationError

# An address that stands for every one of this machine, and the one by which this machine reaches itself.
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to


def listen(host: str, port: int) -> socket.socket:
    """Take the port, before anything slow is begun.

    Args:
        host: an address or name of this machine.
        port: 0 takes any free one.

    Raises:
        ConfigurationError: naming the port and how to choose another.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        # Of a name with both, such as localhost, the address that every client tries.
        family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        listener = socket.create_server(address[:2], family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError([_why_not(error, host, port)]) from None
    # Named as TCP, which create_server leaves out: asyncio switches Nagle's algorithm off only where it sees
    # that name, and with it every answer would wait 40 ms for the acknowledgement of its headers.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=listener.detach())


def where(listener: socket.socket) -> str:
    """The URL of a listening socket on this machine."""
    address, port = listener.getsockname()[:2]
    return _url(EVERY_ADDRESS.get(address, address), port)


def where_else(listener: socket.socket) -> list[str]:
    """The URLs of a listening socket for other machines, if it listens on every address of this one."""
    address, port = listener.getsockname()[:2]
    if address not in EVERY_ADDRESS:
        return []
    interfaces, states = psutil.net_if_addrs(), psutil.net_if_stats()
    found = [
        ip_address(entry.address.partition("%")[0])
        for name, entries in interfaces.items()
        if name in states and states[name].isup
        for entry in entries
        if entry.family == listener.family
    ]
    return [_url(str(each), port) for each in sorted(found, key=int) if not each.is_loopback and not each.is_link_local]


def _url(address: str, port: int) -> str:
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _why_not(error: OSError | UnicodeError, host: str, port: int) -> str:
    another = port + 1 if 1023 < port < 65535 else 1337
    # The latter for text that cannot be a name at all.
    if isinstance(error, (socket.gaierror, UnicodeError)) or error.errno == errno.EADDRNOTAVAIL:
        return f"host: {host!r} is no address of this machine; use 127.0.0.1, or 0.0.0.0 for the whole network."
    if error.errno == errno.EADDRINUSE:
        return (
            f"port: {port} is in use on {host}; perhaps this server is running already. "
            f"Choose another with --port {another}, or stop the other program."
        )
    if error.errno == errno.EACCES:
        return f"port: {port} is reserved on this machine; choose another above 1023 with --port {another}."
    return f"port: {host}:{port} cannot be opened: {error.strerror}."
