"""What is kept of jobs that nobody waits for, and for how long."""

import time

import pytest
from requested import request

from sd_api.errors import JobCancelled, OutOfMemory
from sd_api.generation.result import GeneratedImage, GenerationResult
from sd_api.jobs.job import Job
from sd_api.jobs.kept import KeptOutcomes


def ended(job_id: str, size: int) -> Job:
    job = Job(request(), job_id=job_id)
    job.finish(GenerationResult((GeneratedImage(bytes(size), 7, nsfw=False),)))
    return job


def test_outcomes_are_kept_for_a_time() -> None:
    kept = KeptOutcomes(max_seconds=0.05)
    kept.keep(ended("one", 10))
    assert isinstance(kept.outcome("one"), GenerationResult)
    time.sleep(0.06)
    assert kept.outcome("one") is None


def test_the_oldest_go_where_there_are_too_many_bytes_but_the_latest_stays() -> None:
    kept = KeptOutcomes(max_bytes=25)
    for name in ("one", "two", "three"):
        kept.keep(ended(name, 10))
    assert [kept.outcome(name) is not None for name in ("one", "two", "three")] == [False, True, True]
    kept.keep(ended("large", 100))
    assert kept.outcome("three") is None
    assert kept.outcome("large") is not None


def test_an_id_that_is_used_again_means_the_later_job() -> None:
    kept = KeptOutcomes()
    kept.keep(ended("one", 10))
    again = Job(request(), job_id="one")
    kept.keep(again)
    assert kept.outcome("one") is None
    again.cancel("enough")
    assert isinstance(kept.outcome("one"), JobCancelled)


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_how_a_job_ended_badly_is_kept_too(end: str) -> None:
    kept = KeptOutcomes()
    job = Job(request(), job_id="one")
    kept.keep(job)
    assert kept.outcome("one") is None
    if end == "fail":
        job.fail(OutOfMemory("too large"))
        assert isinstance(kept.outcome("one"), OutOfMemory)
    else:
        job.cancel("enough")
        assert isinstance(kept.outcome("one"), JobCancelled)
