"""What the allocator keeps, seen by the page faults of a process of its own."""

import platform
import subprocess
import sys

import pytest

# A thread takes and frees 96 MiB, as an autoencoder's layers do: more than an arena of a thread can hold in one block.
FAULTS = """
import ctypes, resource, threading
from sd_api.allocator import keep_freed_memory, share_one_arena

# PR_SET_THP_DISABLE: each page has a fault of its own.
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)
{before}
keep_freed_memory()
faults = []

def work():
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        bytearray(96 << 20)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=work)
thread.start()
thread.join()
print(*faults)
"""


def _faults(before: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(before=before)], capture_output=True, text=True, check=True
    )
    return [int(number) for number in done.stdout.split()]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has arenas")
def test_large_blocks_of_threads_are_kept_for_the_next() -> None:
    fresh, *again = _faults("share_one_arena()")
    assert fresh > 1000
    assert max(again) < 100
    # In an arena of the thread's own they are mapped anew each time.
    assert min(_faults("pass")) > 1000
