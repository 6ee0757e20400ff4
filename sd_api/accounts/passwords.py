"""Passwords, hashed so that guessing them costs memory and time."""

import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

# How many passwords are hashed at once: each takes 64 MiB.
MAX_CONCURRENT_HASHES = 2


class Passwords:
    """Argon2id with the parameters that RFC 9106 recommends for little memory."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._slots = threading.BoundedSemaphore(MAX_CONCURRENT_HASHES)
        self._dummy_hash = self._hasher.hash("dummy")

    def hash(self, password: str) -> str:
        """Hash a password with a salt of its own; returns the encoded hash."""
        with self._slots:
            return self._hasher.hash(_normal(password))

    def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether a password has a given hash.

        Args:
            password_hash: the return value of ``hash``; None if there is no such user, which takes the same time.
            password: the password to verify.
        """
        with self._slots:
            try:
                self._hasher.verify(password_hash or self._dummy_hash, _normal(password))
            except VerifyMismatchError:
                return False
        return password_hash is not None


def _normal(password: str) -> str:
    """Normalise a password (RFC 8265), because keyboards differ in whether "é" is one character or two."""
    return unicodedata.normalize("NFC", password)
