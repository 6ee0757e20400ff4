"""Seeds that are chosen where a client names none."""

import secrets

# Chosen seeds stay below this, so that they are short enough to be noted down by hand.
CHOSEN_SEEDS = 2**32


def choose_seed() -> int:
    """A seed from 1 up."""
    return 1 + secrets.randbelow(CHOSEN_SEEDS - 1)
