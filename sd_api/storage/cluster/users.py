"""The user store over Redis, and the key that signs tokens."""

import json
from typing import Any

import redis

from sd_api.cluster.connection import translate_redis_errors
from sd_api.errors import NameTaken
from sd_api.storage.protocols import User


class RedisUsers:
    """A UserStore over Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    @translate_redis_errors()
    def add(self, user: User) -> None:
        """See UserStore."""
        value = json.dumps({"id": user.id, "password_hash": user.password_hash})
        # A command may be sent twice, so the user that exists may be this one.
        if not self._client.set(_key(user.name), value, nx=True) and self.find(user.name) != user:
            raise NameTaken(f"There is a user {user.name!r} already; choose another username.")

    @translate_redis_errors()
    def find(self, name: str) -> User | None:
        """See UserStore."""
        value: Any = self._client.get(_key(name))
        return None if value is None else User(name=name, **json.loads(value))


@translate_redis_errors()
def shared_secret(client: redis.Redis, value: str) -> str:
    """The key that signs the tokens of all processes.

    Args:
        client: the connection to the Redis that stores it.
        value: the key to store if there is none yet.
    """
    client.set("sd:store:secret_key", value, nx=True)
    stored: Any = client.get("sd:store:secret_key")
    secret: str = stored.decode()
    return secret


def _key(name: str) -> str:
    return f"sd:store:user:{name}"
