"""Signed tokens: each names its owner until it expires."""

import secrets
import time
from dataclasses import dataclass
from uuid import uuid4

import jwt

from sd_api import owners
from sd_api.errors import ConfigurationError, NotAuthenticated

ALGORITHM = "HS256"
# Bytes that RFC 7518 requires for that algorithm.
MIN_SECRET_BYTES = 32
_CLAIMS = ["sub", "iat", "exp", "jti"]


@dataclass(frozen=True)
class Identity:
    """The owner of a token.

    Attributes:
        owner: a user, or the token itself if it is a public one; see ``sd_api.owners``.
        expires: when the token expires, in seconds since 1970.
    """

    owner: str
    expires: float


def make_secret() -> str:
    """Make a new key to sign tokens with."""
    return secrets.token_hex(32)


class Tokens:
    """JSON Web Tokens (RFC 7519), signed with HMAC-SHA-256.

    Args:
        secret: the key that signs them, at least 32 bytes.
        seconds: how long a token is valid.

    Raises:
        ConfigurationError: the key is shorter, so that tokens could be forged.
    """

    def __init__(self, secret: str, seconds: float) -> None:
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise ConfigurationError(
                [
                    f"secret_key: it must have at least {MIN_SECRET_BYTES} characters. If it is the one in the data "
                    "folder, delete that file: a new one is made, and all tokens become void"
                ]
            )
        self._secret = secret
        self._seconds = seconds

    def for_user(self, user_id: str) -> str:
        """Make a token for a user."""
        return self._make(owners.user(user_id), uuid4().hex)

    def for_public(self, address: str) -> str:
        """Make a public token, which is an owner of its own, for a client at an address."""
        token_id = uuid4().hex
        return self._make(owners.public_token(address, token_id), token_id)

    def identify(self, token: str) -> Identity:
        """Verify a token and return its owner.

        Raises:
            NotAuthenticated: the token is not one of this server, or it has expired.
        """
        try:
            # The algorithm that the token names is ignored, because it could be "none".
            # The time of issue is not verified, because clocks are set back, and those of machines differ.
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
