"""The scripts in Redis that change the state of jobs and workers; each change is one script, so it is atomic."""

from importlib.resources import files
from typing import Any

import redis

from sd_api import __version__
from sd_api.generation.spec import JobSpec
from sd_api.jobs.cluster import codec
from sd_api.settings import Cluster

_SCRIPTS = (
    *("submit", "claim", "join", "show", "end", "cancel", "release", "heartbeat", "expire_leases", "list"),
    *("ask_preview", "cache_result", "stop_early", "move"),
)


class Board:
    """What servers and workers do alike with the jobs that they share.

    Every method raises ``redis.RedisError`` if Redis cannot be reached.

    Args:
        client: the connection to Redis.
        cluster: the settings that all processes share.
    """

    def __init__(self, client: redis.Redis, cluster: Cluster) -> None:
        self._client = client
        self._lease = cluster.worker_timeout * 1000
        self._tries = cluster.tries
        folder = files(__package__) / "scripts"
        common = (folder / "common.lua").read_text(encoding="utf-8")
        self._scripts = {
            name: client.register_script(common + (folder / f"{name}.lua").read_text(encoding="utf-8"))
            for name in _SCRIPTS
        }

    def expire_leases(self) -> int:
        """Requeue the jobs whose leases have expired, or fail those that have been tried too often.

        Returns:
            The number of clients that have queued jobs.
        """
        waiting: int = self._call("expire_leases", self._lease, self._tries)
        return waiting

    def _call(self, name: str, *arguments: str | bytes | int | float) -> Any:
        return self._scripts[name](args=list(arguments))

    def _fields(self, job_id: str, *names: str) -> dict[str, bytes | None]:
        found: list[Any] = self._client.hmget(f"sd:jobs:{job_id}", names) if names else []
        return dict(zip(names, found, strict=True))


def batch_of(spec: JobSpec) -> str:
    """The key of the jobs that share their forwards with this one."""
    return repr((__version__, spec.batch_key))


def flat(fields: codec.Fields) -> list[str | bytes | int | float]:
    """Fields and values in turn, as scripts take them."""
    return [part for pair in fields.items() for part in pair]
