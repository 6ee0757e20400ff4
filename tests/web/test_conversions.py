"""Pictures that are converted for an answer."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from sd_api.web.conversions import MOST_BYTES, Conversions


def test_those_that_want_it_at_once_wait_for_one_conversion() -> None:
    conversions, waiting, made = Conversions(), Event(), []

    def convert() -> bytes:
        waiting.wait(0.2)
        made.append(1)
        return b"picture"

    with ThreadPoolExecutor(8) as pool:
        wanted = [pool.submit(conversions.get, "a", convert) for _ in range(8)]
        assert {each.result() for each in wanted} == {b"picture"}
    assert made == [1]


def test_a_failure_is_not_kept_and_what_is_kept_is_bounded() -> None:
    conversions = Conversions()
    with pytest.raises(OSError, match="broken"):
        conversions.get("a", lambda: (_ for _ in ()).throw(OSError("broken")))
    assert conversions.get("a", lambda: b"1") == b"1"
    assert conversions.get("a", lambda: b"2") == b"1"
    assert conversions.get("b", lambda: bytes(MOST_BYTES)) == bytes(MOST_BYTES)
    assert conversions.get("a", lambda: b"2") == b"2"
