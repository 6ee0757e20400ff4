"""The public status of workers."""

import platform
from dataclasses import dataclass

from sd_api import __version__
from sd_api.generation.engine import EngineStatus


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """A process with an engine.

    Attributes:
        id: 32 random hexadecimal digits; ``local`` for the server's own engine.
        host: the name of its machine.
        version: the version of its program; it takes jobs of the same version only.
        started: when it started, in seconds since 1970.
        engine: the status of its engine, with its device and models.
        jobs: the ids of its running jobs.
    """

    id: str
    started: float
    engine: EngineStatus
    jobs: tuple[str, ...] = ()
    host: str = platform.node()
    version: str = __version__
