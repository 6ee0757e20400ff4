"""Passwords, hashed so that guessing them costs memory and time."""

import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

# How many are hashed at once: each takes 64 MiB.
AT_ONCE = 2


class Passwords:
    """Argon2id with the parameters that RFC 9106 recommends where memory is short."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._room = threading.BoundedSemaphore(AT_ONCE)
        self._nobodys = self._hasher.hash("nobody's")

    def hash(self, password: str) -> str:
        """The text to keep in place of a password, with a salt of its own."""
        with self._room:
            return self._hasher.hash(_normal(password))

    def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether a password is the one that was hashed.

        Args:
            password_hash: what ``hash`` returned; None where there is no such user, which takes as long to find out.
            password: what came.
        """
        with self._room:
            try:
                self._hasher.verify(password_hash or self._nobodys, _normal(password))
            except VerifyMismatchError:
                return False
        return password_hash is not None


def _normal(password: str) -> str:
    """The same for what looks the same (RFC 8265): keyboards differ in whether "é" is one character or two."""
    return unicodedata.normalize("NFC", password)
