"""How many files and connections this process may have open."""

import sys

# Files, databases, models and connections to other machines.
OTHERS = 100

# Where the system does not say, as on Windows, or says "any number".
USUAL = 2048

# A connection costs some memory even if it says nothing.
MOST_CONNECTIONS = 4096

# Newly come connections that one turn of the event loop takes, and the turns until they are counted.
MOST_AT_ONCE, TURNS = 128, 3


def raise_limit() -> int:
    """Raise the process's limit of open files to the highest that it may choose.

    Returns:
        The limit.
    """
    if sys.platform == "win32":
        return USUAL
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS says "any number" and takes none that is large.
    wanted = max(soft, 10_240) if hard == resource.RLIM_INFINITY else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        return soft
    return wanted


def share(limit: int) -> tuple[int, int]:
    """Divide the open files between connections and the rest.

    Args:
        limit: of open files.

    Returns:
        How many connections there may be, and how many may be taken at once.
    """
    at_once = max(4, min(MOST_AT_ONCE, limit // 16))
    return max(16, min(MOST_CONNECTIONS, limit - TURNS * at_once - OTHERS)), at_once
