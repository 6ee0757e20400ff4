"""Who makes pictures, as far as that may be told."""

import platform
from dataclasses import dataclass

from sd_api import __version__
from sd_api.generation.engine import EngineStatus


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """A process with an engine.

    Attributes:
        id: 32 hexadecimal digits, chosen at its start; ``local`` for the server's own engine.
        host: the name of its machine.
        version: of its program; it takes jobs of the same version only.
        started: when it started, in seconds since 1970.
        engine: how its engine is, with its device and models.
        jobs: the ids of those that it works on now.
    """

    id: str
    started: float
    engine: EngineStatus
    jobs: tuple[str, ...] = ()
    host: str = platform.node()
    version: str = __version__
