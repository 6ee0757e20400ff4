"""What the queue of one process learns from jobs that share the device."""

from typing import Any

import pytest
from requested import request

from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.engine import EngineStatus, Progress
from sd_api.generation.result import GenerationResult
from sd_api.jobs.job import Job
from sd_api.jobs.local import LocalQueue
from sd_api.jobs.work_rates import WorkRates
from sd_api.settings import Limits

READY = EngineStatus("ready", "a model", abilities={None: ModelAbilities(("txt2img",), 8, None)})


@pytest.mark.parametrize(("at_once", "seconds"), [(1, 6.0), (2, 3.0)], ids=["overtakes", "joins"])
def test_a_job_is_timed_by_its_share_of_the_device(
    monkeypatch: pytest.MonkeyPatch, at_once: int, seconds: float
) -> None:
    learned: list[float] = []
    monkeypatch.setattr(WorkRates, "learn", lambda _rates, _kind, timing: learned.append(timing.seconds))
    monkeypatch.setattr(Job, "working_seconds", lambda _job: 6.0)
    queue = LocalQueue(lambda: pytest.fail("not started"), READY, Limits())
    long, short = queue.submit(request(steps=20)), queue.submit(request(steps=2))
    begun: list[Any] = queue.poll(at_once, active=False)
    long.report(Progress("denoising", 1, 20))
    begun += queue.poll(at_once, active=True)
    assert begun == [long, short]
    short.finish(GenerationResult(()))
    queue.poll(at_once, active=True)
    assert learned == [pytest.approx(seconds, rel=0.001)]
