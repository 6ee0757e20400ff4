"""The transactions of ``store.lua``, which Redis runs one at a time."""

from pathlib import Path
from typing import Any

import redis

from sd_api.cluster.connection import redis_faults_as_ours

SCRIPT = (Path(__file__).parent / "store.lua").read_text(encoding="utf-8")


class Commands:
    """Calls the commands of ``store.lua``; for all threads.

    Args:
        client: where they run.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._script = client.register_script(SCRIPT)

    def run(self, command: str, *arguments: str | bytes | float) -> Any:
        """What a command answers, in the types of the Redis client.

        Raises:
            StoreUnavailable: Redis stays away.
        """
        with redis_faults_as_ours():
            return self._script(args=[command, *arguments])
