"""Seeds: their range, and those that are chosen where a client names none."""

import secrets

# JSON numbers are exact up to here in every client, so a reported seed can be posted again.
MAX_SEED = 2**53 - 1

# Chosen seeds stay below this, so that they are short enough to be noted down by hand.
CHOSEN_SEEDS = 2**32


def choose_seed() -> int:
    """A random seed from 1 up."""
    return 1 + secrets.randbelow(CHOSEN_SEEDS - 1)
