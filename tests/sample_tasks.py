"""Sample tasks and events for the tests of stores, queues and event buses."""

import time
from collections.abc import Mapping
from typing import Any

from sd_api.storage.protocols import Task

DOG: Mapping[str, Any] = {"prompt": "a dog"}


def make_task(task_id: str = "1", owner: str = "user:a", parameters: Mapping[str, Any] = DOG) -> Task:
    return Task(task_id, owner, parameters, "pending", time.time())


def sample_event(kind: str) -> dict[str, Any]:
    return {"event_type": kind}
