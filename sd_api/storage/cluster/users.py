"""The user store over Redis, and the key that signs tokens."""

import json
from typing import Any

import redis

from sd_api.cluster.connection import translate_redis_errors
from sd_api.storage.cluster.commands import Commands
from sd_api.storage.names import chosen, folded, taken
from sd_api.storage.protocols import User

_USER = "sd:store:user:"
_NAMES = "sd:store:names:"


class RedisUsers:
    """A UserStore over Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._commands = Commands(client)
        self._fold_names()

    def add(self, user: User) -> None:
        """See UserStore."""
        value = json.dumps({"id": user.id, "password_hash": user.password_hash})
        if not self._commands.run("add_user", user.name, folded(user.name), value):
            raise taken(user.name)

    @translate_redis_errors()
    def find(self, name: str) -> User | None:
        """See UserStore."""
        members: Any = self._client.smembers(_NAMES + folded(name))
        names = sorted(member.decode() for member in members)
        values: Any = self._client.mget([_USER + alike for alike in names]) if names else []
        found = [User(name=alike, **json.loads(value)) for alike, value in zip(names, values, strict=True) if value]
        return chosen(name, found)

    @translate_redis_errors()
    def _fold_names(self) -> None:
        """List the users of earlier versions by their folded names."""
        if self._client.exists("sd:store:names"):
            return
        for key in self._client.scan_iter(match=f"{_USER}*", count=1000):
            name = key.decode().removeprefix(_USER)
            self._client.sadd(_NAMES + folded(name), name)
        self._client.set("sd:store:names", "folded")


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
