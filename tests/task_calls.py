"""What is done with a task by a client with a token, over a network or not."""

import time
from abc import ABC, abstractmethod
from typing import Any

QUICK: dict[str, Any] = {"prompt": "a dog", "steps": 2, "width": 64, "height": 64, "seed": 5}
ENDED = ("finished", "cancelled")


class TaskCalls(ABC):
    """The calls about tasks."""

    @abstractmethod
    def asked(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of an answer, which must be a good one."""

    def create(self, **parameters: Any) -> str:
        task_id: str = self.asked("POST", "/task", json=parameters)
        return task_id

    def event(self, task_id: str) -> dict[str, Any]:
        event: dict[str, Any] = self.asked("GET", f"/task/{task_id}")
        return event

    def wait(self, task_id: str, *kinds: str) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while (event := self.event(task_id))["event_type"] not in (kinds or ENDED):
            assert time.monotonic() < deadline, event
            time.sleep(0.02)
        return event
