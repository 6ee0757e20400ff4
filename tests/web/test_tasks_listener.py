"""One listener on an event loop: how much waits for it, and when it is sent away."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sd_api.accounts.tokens import Identity
from sd_api.errors import StoreUnavailable
from sd_api.storage.protocols import Event
from sd_api.tasks.events import EventSource
from sd_api.web.tasks import listener as module
from sd_api.web.tasks.listener import MAX_QUEUED_EVENTS, Listener


class Source(EventSource):
    """Events as the test has them happen."""

    def __init__(self) -> None:
        self.hear: Callable[[Event], None] | None = None

    def subscribe(self, owner: str, listener: Callable[[Event], None], *, previews: bool = False) -> Callable[[], None]:
        self.hear = listener

        def unsubscribe() -> None:
            self.hear = None

        return unsubscribe

    def missed(self, owner: str, since: int) -> Iterator[list[Event]]:
        return iter(())


def event(number: int | None) -> Event:
    return Event(number, "task", "user:a", {"event_type": "progress" if number is None else "pending"})


async def never() -> dict[str, Any]:
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


def test_who_does_not_keep_up_is_sent_away() -> None:
    async def run() -> None:
        source = Source()
        listener = Listener(source, Identity("user:a", time.time() + 60), None, progress=True)

        async def tell(event: Event) -> None:
            await asyncio.get_running_loop().create_future()

        serving = asyncio.create_task(listener.serve(tell, never, "gone"))
        await asyncio.sleep(0)
        assert source.hear is not None
        for number in range(MAX_QUEUED_EVENTS + 3):
            source.hear(event(number))
        await asyncio.wait_for(serving, 5)
        assert listener.dismissed is not None
        assert listener.dismissed[0] == module.TRY_AGAIN_LATER
        assert source.hear is None

    asyncio.run(run())


def test_progress_that_nobody_takes_is_passed_over_and_what_counts_is_not() -> None:
    async def run() -> None:
        source = Source()
        listener = Listener(source, Identity("user:a", time.time() + 60), None, progress=True)
        heard: list[Event] = []
        may = asyncio.Event()

        async def tell(event: Event) -> None:
            await may.wait()
            heard.append(event)

        serving = asyncio.create_task(listener.serve(tell, never, "gone"))
        await asyncio.sleep(0)
        assert source.hear is not None
        for _ in range(3 * MAX_QUEUED_EVENTS):
            source.hear(event(None))
        source.hear(event(1))
        await asyncio.sleep(0.1)
        may.set()
        await asyncio.sleep(0.1)
        assert heard[-1] == event(1)
        assert len(heard) <= MAX_QUEUED_EVENTS
        serving.cancel()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StoreUnavailable("Redis is away."), "missed events cannot be read now"),
        (ZeroDivisionError("secret"), "error id"),
    ],
)
def test_a_catch_up_that_fails_ends_the_listening_with_a_code_and_one_line(
    error: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Source):
        def missed(self, owner: str, since: int) -> Iterator[list[Event]]:
            yield [event(8)]
            raise error

    async def run() -> None:
        source, heard = Failing(), []
        listener = Listener(source, Identity("user:a", time.time() + 60), 7, progress=False)

        async def tell(event: Event) -> None:
            heard.append(event)

        await asyncio.wait_for(listener.serve(tell, never, "gone"), 5)
        assert heard == [event(8)]
        assert listener.dismissed is not None
        assert listener.dismissed[0] == 1011
        assert reason in listener.dismissed[1]
        assert "secret" not in listener.dismissed[1]
        assert source.hear is None

    asyncio.run(run())
    assert len([record for record in caplog.records if record.name == module.__name__]) == 1


def test_a_token_that_expires_ends_the_listening() -> None:
    async def run() -> None:
        listener = Listener(Source(), Identity("user:a", time.time() + 0.1), None, progress=False)

        async def tell(event: Event) -> None:
            raise AssertionError

        await asyncio.wait_for(listener.serve(tell, never, "gone"), 5)
        assert listener.dismissed is not None
        assert listener.dismissed[0] == module.POLICY_VIOLATION

    asyncio.run(run())


def test_a_client_that_goes_ends_the_listening() -> None:
    async def run() -> None:
        source = Source()
        listener = Listener(source, Identity("user:a", time.time() + 60), None, progress=False)

        async def tell(event: Event) -> None:
            raise AssertionError

        async def receive() -> dict[str, Any]:
            return {"type": "gone"}

        await asyncio.wait_for(listener.serve(tell, receive, "gone"), 5)
        assert listener.dismissed is None
        assert source.hear is None

    asyncio.run(run())
