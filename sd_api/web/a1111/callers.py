"""Whose a job of this dialect is: requests name none, so progress and interrupts act on the jobs of their caller."""

import re

from sd_api.jobs.job import JobStatus
from sd_api.jobs.queue import JobQueue
from sd_api.owners import client_of, is_address, is_of, job_name
from sd_api.web.bearer import JobOwners
from sd_api.web.client import program_name

DIALECT = "a1111"


class CallersJobs:
    """The unfinished jobs of this dialect that the current request's caller has sent.

    The caller is the owner of the token; without one, it is one program at one address.

    Args:
        queue: The job queue.
        owners: Decides who sends the current request.
    """

    def __init__(self, queue: JobQueue, owners: JobOwners) -> None:
        self._queue = queue
        self._owners = owners

    def find(self, name: str) -> list[JobStatus]:
        """The running jobs, then the waiting ones.

        Args:
            name: Only the job of this name; all of them where it is empty.
        """
        return [
            job
            for job in self._queue.jobs()
            if job.dialect == DIALECT and self._is_the_callers(job) and name in ("", job_name(job.id))
        ]

    def _is_the_callers(self, job: JobStatus) -> bool:
        sender = self._owners.sender()
        if not is_of(self._owners.owner(), job.id) or job.client != client_of(sender):
            return False
        return not is_address(sender) or _kind(job.program) == _kind(program_name())


def _kind(program: str) -> str:
    """What the User-Agents of one program have in common: a script in Python may use two libraries at once."""
    name = re.match(r"[A-Za-z]*", program)
    return "python" if name is not None and name[0].lower() == "python" else program
