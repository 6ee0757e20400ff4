"""Signed tokens: who holds one is who it says, until it expires."""

import secrets
import time
from dataclasses import dataclass
from uuid import uuid4

import jwt

from sd_api.errors import ConfigurationError, NotAuthenticated

ALGORITHM = "HS256"
# Bytes, as RFC 7518 has it for that algorithm.
SHORTEST_SECRET = 32
_CLAIMS = ["sub", "iat", "exp", "jti"]


@dataclass(frozen=True)
class Identity:
    """Who asks.

    Attributes:
        owner: ``user:<id>``, or ``public:<id of the token>`` for who has no more than a token. What belongs to
            one owner is seen by no other.
        expires: until when that is so, in seconds since 1970.
    """

    owner: str
    expires: float


def is_owner(client: str) -> bool:
    """Whether a client of the queue is the owner of a task, rather than somebody by address."""
    return client.startswith(("user:", "public:"))


def make_secret() -> str:
    """A new secret to sign with."""
    return secrets.token_hex(32)


class Tokens:
    """JSON Web Tokens (RFC 7519), signed with HMAC-SHA-256.

    Args:
        secret: what they are signed with, at least 32 bytes.
        seconds: how long each is valid.

    Raises:
        ConfigurationError: the secret is shorter, so that tokens could be forged.
    """

    def __init__(self, secret: str, seconds: float) -> None:
        if len(secret.encode()) < SHORTEST_SECRET:
            raise ConfigurationError(
                [
                    f"secret_key: it must have at least {SHORTEST_SECRET} characters. If it is the one in the data "
                    "folder, delete that file: a new one is made, and all tokens become void"
                ]
            )
        self._secret = secret
        self._seconds = seconds

    def for_user(self, user_id: str) -> str:
        """A token for a user."""
        return self._make(f"user:{user_id}", uuid4().hex)

    def for_public(self) -> str:
        """A token for who is nobody else but its holder."""
        token_id = uuid4().hex
        return self._make(f"public:{token_id}", token_id)

    def identify(self, token: str) -> Identity:
        """Who holds a token.

        Raises:
            NotAuthenticated: it is not one of ours, or it has expired.
        """
        try:
            # Never the algorithm that the token itself names: that could be none at all.
            # Nor is it asked whether it was made in the future: clocks are set back, and those of machines differ.
            claims = jwt.decode(
                token, self._secret, algorithms=[ALGORITHM], options={"require": _CLAIMS, "verify_iat": False}
            )
        except jwt.ExpiredSignatureError:
            raise NotAuthenticated("This token has expired; get a new one at POST /token.") from None
        except jwt.InvalidTokenError:
            raise NotAuthenticated("This is no token of this server; get one at POST /token.") from None
        return Identity(claims["sub"], claims["exp"])

    def _make(self, subject: str, token_id: str) -> str:
        now = int(time.time())
        claims = {"sub": subject, "iat": now, "exp": now + int(self._seconds), "jti": token_id}
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM)
