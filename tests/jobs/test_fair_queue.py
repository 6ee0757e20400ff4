"""The fair queue serves clients round-robin, whatever is added, taken and removed in between."""

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from requested import request

from sd_api.jobs.fair_queue import FairQueue
from sd_api.jobs.job import Job

CLIENTS = st.sampled_from("abcd")


class FairQueueMachine(RuleBasedStateMachine):
    """The queue beside plain lists, and how many jobs of each other client were served before a waiting client."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[Job] = FairQueue()
        self.by_client: dict[str, list[Job]] = {}
        self.passed: dict[str, Counter[str]] = {}

    @rule(client=CLIENTS, program=st.sampled_from("xy"))
    def add(self, client: str, program: str) -> None:
        job = Job(request(), client=client, program=program)
        if not self.by_client.get(client):
            self.passed[client] = Counter()
        self.by_client.setdefault(client, []).append(job)
        self.queue.add(job)

    @precondition(lambda self: len(self.queue) > 0)
    @rule()
    def take(self) -> None:
        expected = next(iter(self.queue))
        job = self.queue.take()
        assert job is expected
        own = self.by_client[job.client]
        assert job is next(other for other in own if other.program == job.program)
        own.remove(job)
        self.passed[job.client] = Counter()
        for client, jobs in self.by_client.items():
            if jobs and client != job.client:
                self.passed[client][job.client] += 1
                assert self.passed[client][job.client] == 1, "a client was served twice while another one waited"

    @precondition(lambda self: len(self.queue) > 0)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(list(self.queue)))
        self.by_client[job.client].remove(job)
        self.queue.remove(job)

    @invariant()
    def holds_what_was_added(self) -> None:
        assert len(self.queue) == sum(map(len, self.by_client.values()))
        order = list(self.queue)
        for client, jobs in self.by_client.items():
            assert [job for job in order if job.client == client] == list(self.queue.of(client))
            for program in "xy":
                alike = [job for job in order if (job.client, job.program) == (client, program)]
                assert alike == [job for job in jobs if job.program == program]


TestFairQueue = FairQueueMachine.TestCase


def test_the_programs_of_a_client_take_turns() -> None:
    queue: FairQueue[Job] = FairQueue()
    for program in "ssstsut":
        queue.add(Job(request(), client="a", program=program))
    assert [job.program for job in queue] == list("stustss")
    queue.take()
    queue.add(Job(request(), client="a", program="v"))
    assert [job.program for job in queue] == list("tusvtss")
