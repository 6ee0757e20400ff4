"""Users, and the secret that tokens are signed with, in Redis."""

import json
from typing import Any

import redis

from sd_api.cluster.connection import redis_faults_as_ours
from sd_api.errors import NameTaken
from sd_api.storage.protocols import User


class RedisUsers:
    """See UserStore."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    @redis_faults_as_ours()
    def add(self, user: User) -> None:
        """See UserStore."""
        value = json.dumps({"id": user.id, "password_hash": user.password_hash})
        # A command may be sent twice, so the one that is there may be this one.
        if not self._client.set(_key(user.name), value, nx=True) and self.find(user.name) != user:
            raise NameTaken(f"There is a user {user.name!r} already; choose another username.")

    @redis_faults_as_ours()
    def find(self, name: str) -> User | None:
        """See UserStore."""
        value: Any = self._client.get(_key(name))
        return None if value is None else User(name=name, **json.loads(value))


@redis_faults_as_ours()
def shared_secret(client: redis.Redis, value: str) -> str:
    """What all processes sign tokens with.

    Args:
        client: where it is kept.
        value: what it is from now on, if there is none yet.
    """
    client.set("sd:store:secret_key", value, nx=True)
    kept: Any = client.get("sd:store:secret_key")
    secret: str = kept.decode()
    return secret


def _key(name: str) -> str:
    return f"sd:store:user:{name}"
