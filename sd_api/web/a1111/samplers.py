"""The samplers and schedules by A1111's names; here a scheduler is both."""

from typing import Any

from sd_api.errors import InvalidField, RequestError
from sd_api.generation.schedulers import KARRAS, SCHEDULERS, SCHEDULES, find_scheduler

_AUTOMATIC = "Automatic"

# Names of programs that mean no schedule of their own.
_LIKE_AUTOMATIC = frozenset({"", "automatic", "none", "use same scheduler"})

# Samplers with timesteps of their own, on which no schedule acts.
_WITHOUT_SCHEDULE = frozenset({"ddim", "plms"})


class SamplerNotFound(RequestError):
    """There is no such sampler.

    Args:
        name: What was asked for.
    """

    status = 404

    def __init__(self, name: str) -> None:
        # Programs compare the message.
        super().__init__("Sampler not found")
        self.hint = f"There is no sampler {name[:100]!r}; valid are {', '.join(_labels())}."


def scheduler_of(sampler: str, schedule: str) -> str:
    """The scheduler that a sampler and a schedule mean together.

    Args:
        sampler: A name, with or without the schedule, such as "DPM++ 2M Karras" or ``k_euler_a``.
        schedule: A name or a label of ``schedulers()``.

    Raises:
        SamplerNotFound: There is no such sampler.
        InvalidField: There is no such schedule, or not for this sampler.
    """
    alone = find_scheduler(sampler)
    if alone is None:
        raise SamplerNotFound(sampler)
    if schedule.strip().lower() in _LIKE_AUTOMATIC or alone in _WITHOUT_SCHEDULE:
        return alone
    known = {_spelling(name): name for name in SCHEDULES}.get(_spelling(schedule))
    if known is None:
        raise InvalidField("scheduler", f"is {schedule[:40]!r}; valid are {', '.join((_AUTOMATIC, *SCHEDULES))}")
    both = find_scheduler(f"{SCHEDULERS[alone].sampler} {known}")
    if both is None:
        raise InvalidField("scheduler", f"is {known}, which {SCHEDULERS[alone].label} does not have")
    return both


def samplers() -> list[dict[str, Any]]:
    """Every sampler, those with the sigmas of Karras by their older full names too."""
    return [
        {
            "name": choice.label,
            "aliases": [name, *choice.aliases],
            "options": {} if choice.schedule is None else {"scheduler": _spelling(choice.schedule)},
        }
        for name, choice in SCHEDULERS.items()
    ]


def schedulers() -> list[dict[str, Any]]:
    """Every schedule."""
    return [
        {
            "name": _spelling(label),
            "label": label,
            "aliases": None,
            "default_rho": 7.0 if label == KARRAS else -1,
            "need_inner_model": False,
        }
        for label in (_AUTOMATIC, *SCHEDULES)
    ]


def _spelling(schedule: str) -> str:
    """A schedule's name as programs send it."""
    return schedule.strip().lower().replace(" ", "_")


def _labels() -> list[str]:
    return [choice.label for choice in SCHEDULERS.values()]
