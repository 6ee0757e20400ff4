"""Takes rights and resources away from the process that reads a pickled file, for the rest of its life.

Memory is limited on Linux; network and other programs are closed to it on Linux with x86-64 or ARM64; time and the size
of files are limited on macOS, too. Everywhere the process that starts it limits its time.
"""

import ctypes
import platform
import signal
import struct
import sys
from pathlib import Path

# Numbers of system calls on x86-64 and ARM64: socket, connect, execve, execveat, kill, ptrace, process_vm_writev,
# io_uring_setup.
_FORBIDDEN = {
    "x86_64": (0xC000003E, (41, 42, 59, 322, 62, 101, 311, 425)),
    "aarch64": (0xC00000B7, (198, 203, 221, 281, 129, 117, 271, 425)),
}

# What reading takes beside the weights, and the weights that are read in a second at least.
_BASE_BYTES = 512 * 1024**2
_BASE_SECONDS = 60
_BYTES_PER_SECOND = 20_000_000

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
# Instructions of a filter: load a word, jump if equal, jump if at least, return.
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000
# The numbers of the 32-bit calls on x86-64 begin here.
_OTHER_CALLS = 0x40000000


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def seconds_for(size: int) -> int:
    """The processor time that reading a file of ``size`` bytes may take."""
    return _BASE_SECONDS + size // _BYTES_PER_SECOND


def confine(size: int) -> None:
    """Confine this process to what reading a file of ``size`` bytes, and writing it in another format, needs."""
    if sys.platform == "win32":
        return
    import resource

    limits = {
        resource.RLIMIT_CPU: seconds_for(size),
        resource.RLIMIT_FSIZE: _BASE_BYTES + 2 * size,
        resource.RLIMIT_CORE: 0,
    }
    if sys.platform == "linux":
        # Beyond what the libraries take: the file, its tensors and what is written.
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + _BASE_BYTES + 3 * size
    for limit, value in limits.items():
        _, highest = resource.getrlimit(limit)
        lower = value if highest == resource.RLIM_INFINITY else min(value, highest)
        resource.setrlimit(limit, (lower, lower))
    if sys.platform == "linux":
        # It ends with the thread that started it.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if platform.machine() in _FORBIDDEN:
            _forbid(*_FORBIDDEN[platform.machine()])


def _forbid(architecture: int, calls: tuple[int, ...]) -> None:
    """Have the system refuse system calls; what the kernel does not support is left open."""
    refuse = len(calls) + 1
    filtered = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_IF_EQUAL, architecture, then=1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER_AT),
        _instruction(_IF_AT_LEAST, _OTHER_CALLS, then=refuse),
        *(_instruction(_IF_EQUAL, call, then=refuse - index) for index, call in enumerate(calls, start=1)),
        _instruction(_RETURN, _ALLOW),
        _instruction(_RETURN, _REFUSE),
    ]
    program = _Program(len(filtered), b"".join(filtered))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program))


def _instruction(code: int, value: int, then: int = 0) -> bytes:
    """One instruction; ``then`` is the number of instructions that are left out if its condition holds."""
    return struct.pack("HBBI", code, then, 0, value)


def _prctl(option: int, value: int, further: int = 0) -> None:
    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
    prctl(option, value, further, 0, 0)
