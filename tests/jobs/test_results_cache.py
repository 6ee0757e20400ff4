"""Which results are cached, and for how long."""

import time

import pytest
from requested import request

from sd_api.errors import JobCancelled, OutOfMemory
from sd_api.generation.result import GeneratedImage, GenerationResult
from sd_api.jobs.job import Job
from sd_api.jobs.results_cache import MemoryResultsCache


def ended(job_id: str, size: int) -> Job:
    job = Job(request(), job_id=job_id)
    job.finish(GenerationResult((GeneratedImage(bytes(size), 7, nsfw=False),)))
    return job


def test_a_result_expires() -> None:
    cache = MemoryResultsCache(max_seconds=0.05)
    cache.cache_result(ended("one", 10))
    assert isinstance(cache.cached_result("one"), GenerationResult)
    time.sleep(0.06)
    assert cache.cached_result("one") is None


def test_the_oldest_results_are_evicted_but_the_latest_always_stays() -> None:
    cache = MemoryResultsCache(max_bytes=25)
    for name in ("one", "two", "three"):
        cache.cache_result(ended(name, 10))
    assert [cache.cached_result(name) is not None for name in ("one", "two", "three")] == [False, True, True]
    cache.cache_result(ended("large", 100))
    assert cache.cached_result("three") is None
    assert cache.cached_result("large") is not None


def test_an_id_that_is_used_again_names_the_later_job() -> None:
    cache = MemoryResultsCache()
    cache.cache_result(ended("one", 10))
    again = Job(request(), job_id="one")
    cache.cache_result(again)
    assert cache.cached_result("one") is None
    again.cancel("enough")
    assert isinstance(cache.cached_result("one"), JobCancelled)


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_an_error_is_cached_too(end: str) -> None:
    cache = MemoryResultsCache()
    job = Job(request(), job_id="one")
    cache.cache_result(job)
    assert cache.cached_result("one") is None
    if end == "fail":
        job.fail(OutOfMemory("too large"))
        assert isinstance(cache.cached_result("one"), OutOfMemory)
    else:
        job.cancel("enough")
        assert isinstance(cache.cached_result("one"), JobCancelled)
