"""Whose a job, a task or an image is, and as whom its sender is counted.

An *owner* is a text, and sees its own jobs, tasks and images only:

- ``user:<id>``: a user, with a token;
- ``public:<address>/<id>``: a public token, with the address that it was issued to;
- ``address:<address>``: a client without a token. Clients without one have jobs and documents only.

A *client* is what limits count and what fair queues serve in turn: a user, or an address with all of its public tokens.
Tokens cost nothing, so a limit for each of them would be none.
"""

import ipaddress
import re

SHARED = "shared"
"""The owner of all jobs that are not of tasks, if the configuration shares them."""

PUBLIC = "public:"
"""The beginning of the owners that are public tokens."""

USER = "user:"
"""The beginning of the owners and clients that are users; the other clients of tasks are public."""

_ADDRESS = "address:"

# Bits of an IPv6 address that a network gives to one customer, who chooses the others.
_CUSTOMER_BITS = 64

# Characters of an address that a proxy passes on and that is none, such as "unknown".
_LONGEST_ADDRESS = 64


def user(user_id: str) -> str:
    """The owner that is a user."""
    return USER + user_id


def public_token(address: str | None, token_id: str) -> str:
    """The owner that is a public token.

    Args:
        address: the address of the client that the token is issued to; None if it has none.
        token_id: the token's id.
    """
    return f"{PUBLIC}{_network(_normal(address))}/{token_id}"


def address(address: str | None) -> str:
    """The owner that is a client without a token; this computer's own addresses are one."""
    return _ADDRESS + _normal(address)


def client_of(owner: str) -> str:
    """The client of an owner."""
    if owner.startswith(PUBLIC) and "/" in owner:
        return _ADDRESS + owner.removeprefix(PUBLIC).rpartition("/")[0]
    if owner.startswith(_ADDRESS):
        return _ADDRESS + _network(owner.removeprefix(_ADDRESS))
    return owner


def is_user(owner: str) -> bool:
    """Whether an owner is a user, rather than a public token or a client without a token."""
    return owner.startswith(USER)


def is_address(owner: str) -> bool:
    """Whether an owner is a client without a token."""
    return owner.startswith(_ADDRESS)


def qualified(owner: str, name: str) -> str:
    """The id of an owner's job in the job queue. Names are unique for each owner, so none says what others have.

    Args:
        owner: the job's owner.
        name: what the owner calls the job, without a slash.
    """
    return f"{owner}/{name}"


def job_name(job_id: str) -> str:
    """What its owner calls a job."""
    return job_id.rpartition("/")[2]


def job_owner(job_id: str) -> str:
    """Whose a job is."""
    return job_id.rpartition("/")[0]


def is_of(owner: str, job_id: str) -> bool:
    """Whether a job is this owner's."""
    return job_owner(job_id) == owner


def _normal(address: str | None) -> str:
    try:
        found = ipaddress.ip_address(address or "127.0.0.1")
    except ValueError:
        return re.sub(r"[^!-.0-~]", "_", address or "")[:_LONGEST_ADDRESS]
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    found = mapped or found
    return "127.0.0.1" if found.is_loopback else str(found)


def _network(address: str) -> str:
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address, _CUSTOMER_BITS), strict=False).network_address)
    except ValueError:
        return address
