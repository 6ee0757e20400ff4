"""The last jobs that failed."""

from requested import request

from sd_api.errors import OutOfMemory
from sd_api.generation.result import GenerationResult
from sd_api.jobs.failures import SHOWN, RecentFailures
from sd_api.jobs.job import Job


def listened(failures: RecentFailures, job_id: str) -> Job:
    job = Job(request(), job_id=job_id)
    job.listen(failures)
    return job


def test_an_owner_is_shown_its_last_failures_the_latest_first() -> None:
    failures = RecentFailures()
    for number in range(SHOWN + 2):
        listened(failures, f"user:a/job-{number}").fail(OutOfMemory("too large"))
        listened(failures, f"user:b/job-{number}").fail(OutOfMemory("much too large"))
    found = failures.latest_first("user:a")
    assert [failure.job_id for failure in found] == [f"job-{number}" for number in range(SHOWN + 1, 1, -1)]
    assert (found[0].message, found[0].mode, found[0].model) == ("too large", "txt2img", None)
    assert failures.latest_first("user:c") == []


def test_other_ends_are_no_failures() -> None:
    failures = RecentFailures()
    listened(failures, "user:a/cancelled").cancel("enough")
    finished = listened(failures, "user:a/finished")
    finished.start()
    finished.finish(GenerationResult(()))
    assert failures.latest_first("user:a") == []
