"""A job tells its listeners everything, ends once, and stops what takes too long."""

import gc
import logging
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from requested import request

from sd_api.errors import GenerationFailed, JobCancelled, OutOfLimits
from sd_api.generation.engine import Progress
from sd_api.generation.result import GenerationResult
from sd_api.jobs.job import Job


def test_listeners_hear_of_every_change_and_of_nothing_after_the_end() -> None:
    job = Job(request())
    heard: list[str] = []
    job.listen(lambda changed: heard.append(changed.status().state))
    job.start()
    job.report(Progress("denoising", 1, 2))
    job.finish(GenerationResult(()))
    job.fail(GenerationFailed("Too late."))
    job.cancel("Too late.")
    with pytest.raises(JobCancelled):
        job.report(Progress("denoising", 2, 2))
    assert heard == ["running", "running", "finished"]
    assert job.result() == GenerationResult(())


def test_a_listener_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    job = Job(request())
    heard: list[Job] = []

    def fail(_: Job) -> None:
        raise ZeroDivisionError

    job.listen(fail)
    job.listen(heard.append)
    with caplog.at_level(logging.ERROR):
        job.start()
    assert heard == [job]
    assert "ZeroDivisionError" in caplog.text


def test_a_job_that_takes_too_long_is_cancelled_with_that_reason() -> None:
    job = Job(request(), max_seconds=0.02)
    job.start()
    threading.Event().wait(0.05)
    # Loading is not its fault.
    job.report(Progress("loading"))
    job.report(Progress("denoising", 1, 9))
    threading.Event().wait(0.05)
    with pytest.raises(JobCancelled, match=r"longer than 0\.02 seconds.*limits\.max_job_seconds"):
        job.report(Progress("denoising", 2, 9))
    assert job.status().state == "cancelled"


def test_who_waited_for_a_job_that_failed_does_not_keep_it_in_memory() -> None:
    gc.collect()
    gc.disable()
    try:
        job = Job(request())
        job.fail(OutOfLimits("seed", "is odd"))
        heard = []
        for _ in range(2):
            try:
                job.result()
            except OutOfLimits as error:
                heard.append((error.field, error.message, str(error)))
        assert heard == [("seed", "seed is odd", "seed is odd")] * 2
        gone = weakref.ref(job)
        del job
        assert gone() is None
    finally:
        gc.enable()


def test_whoever_ends_it_it_ends_once() -> None:
    ends = [
        lambda job: job.finish(GenerationResult(())),
        lambda job: job.fail(GenerationFailed("It broke.")),
        lambda job: job.cancel("Not wanted."),
    ]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(50):
            job = Job(request())
            heard: list[str] = []
            job.listen(lambda changed, heard=heard: heard.append(changed.status().state))  # type: ignore[misc]
            list(threads.map(lambda end, job=job: end(job), ends * 3))
            assert len(heard) == 1
            assert job.status().state == heard[0]


def test_previews_are_wanted_for_a_while_after_somebody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(request())
    assert not job.preview_wanted
    job.ask_preview()
    assert job.preview_wanted
    job.show(b"a picture")
    assert job.status().preview == b"a picture"
    monkeypatch.setattr("sd_api.jobs.job.PREVIEW_INTEREST", 0.0)
    assert not job.preview_wanted
    job.cancel("Not wanted.")
    assert job.status().preview is None
    # Begun before the end, and done after it.
    job.show(b"a picture")
    assert job.status().preview is None
