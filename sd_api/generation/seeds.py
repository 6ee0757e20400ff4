"""Seeds: their range, and those that are chosen where a client names none."""

import secrets

# What torch's generators take; on a processor, its generator uses the lower 32 bits.
MAX_SEED = 2**64 - 1

# Chosen seeds stay below this, so that they are short enough to be noted down by hand. JSON numbers are exact in every
# client below 2**53; a larger seed is one that its client has sent.
CHOSEN_SEEDS = 2**32


def choose_seed() -> int:
    """A random seed from 1 up."""
    return 1 + secrets.randbelow(CHOSEN_SEEDS - 1)


def seeds_from(first: int | None, count: int) -> tuple[int, ...]:
    """The seeds of so many pictures: ``first`` and those after it, or chosen ones where there is no first."""
    return tuple(choose_seed() if first is None else first + number for number in range(count))
