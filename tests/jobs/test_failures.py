"""The last jobs that failed."""

from requested import request

from sd_api.errors import OutOfMemory
from sd_api.generation.result import GenerationResult
from sd_api.jobs.failures import REMEMBERED, RecentFailures
from sd_api.jobs.job import Job


def listened(failures: RecentFailures, job_id: str, client: str = "") -> Job:
    job = Job(request(), job_id=job_id, client=client)
    job.listen(failures)
    return job


def test_the_last_failures_are_remembered_the_latest_first() -> None:
    failures = RecentFailures()
    for number in range(REMEMBERED + 2):
        listened(failures, f"job-{number}").fail(OutOfMemory("too large"))
    found = failures.latest_first()
    assert [failure.job_id for failure in found] == [f"job-{number}" for number in range(REMEMBERED + 1, 1, -1)]
    assert (found[0].message, found[0].mode, found[0].model) == ("too large", "txt2img", None)


def test_other_ends_are_no_failures() -> None:
    failures = RecentFailures()
    listened(failures, "cancelled").cancel("enough")
    finished = listened(failures, "finished")
    finished.start()
    finished.finish(GenerationResult(()))
    assert failures.latest_first() == []


def test_failures_of_tasks_are_told_to_their_owners_only() -> None:
    failures = RecentFailures()
    listened(failures, "task", client="user:1").fail(OutOfMemory("too large"))
    assert failures.latest_first() == []
