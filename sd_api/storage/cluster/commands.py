"""The commands of ``store.lua``: transactions that Redis runs one at a time."""

from pathlib import Path
from typing import Any

import redis

from sd_api.cluster.connection import translate_redis_errors

SCRIPT = (Path(__file__).parent / "store.lua").read_text(encoding="utf-8")


class Commands:
    """Calls the commands of ``store.lua``; thread-safe.

    Args:
        client: the connection to Redis.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._script = client.register_script(SCRIPT)

    def run(self, command: str, *arguments: str | bytes | float) -> Any:
        """Run a command and return its answer, in the types of the Redis client.

        Raises:
            StoreUnavailable: Redis cannot be reached or is full.
        """
        with translate_redis_errors():
            return self._script(args=[command, *arguments])
