"""Clients take turns, whatever comes, goes and is taken in between."""

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from requested import request

from sd_api.jobs.job import Job
from sd_api.jobs.line import WaitingLine

CLIENTS = st.sampled_from("abcd")


class Line(RuleBasedStateMachine):
    """The line beside plain lists, and how many jobs of others each waiting client has seen go before it."""

    def __init__(self) -> None:
        super().__init__()
        self.line: WaitingLine[Job] = WaitingLine()
        self.by_client: dict[str, list[Job]] = {}
        self.passed: dict[str, Counter[str]] = {}

    @rule(client=CLIENTS)
    def add(self, client: str) -> None:
        job = Job(request(), client=client)
        if not self.by_client.get(client):
            self.passed[client] = Counter()
        self.by_client.setdefault(client, []).append(job)
        self.line.add(job)

    @precondition(lambda self: len(self.line) > 0)
    @rule()
    def take(self) -> None:
        expected = next(iter(self.line))
        job = self.line.take()
        assert job is expected
        assert self.by_client[job.client].pop(0) is job
        self.passed[job.client] = Counter()
        for client, jobs in self.by_client.items():
            if jobs and client != job.client:
                self.passed[client][job.client] += 1
                assert self.passed[client][job.client] == 1, "somebody had two turns while another waited"

    @precondition(lambda self: len(self.line) > 0)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(list(self.line)))
        self.by_client[job.client].remove(job)
        self.line.remove(job)

    @invariant()
    def holds_what_was_added(self) -> None:
        assert len(self.line) == sum(map(len, self.by_client.values()))
        order = list(self.line)
        for client, jobs in self.by_client.items():
            assert [job for job in order if job.client == client] == jobs
            assert self.line.count(client) == len(jobs)


TestLine = Line.TestCase
