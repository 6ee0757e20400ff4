"""Makes the scheduler that a request names, fresh for each run, because schedulers hold state."""

from typing import Any

import diffusers

from sd_api.generation.schedulers import SCHEDULERS


def make_scheduler(name: str | None, model_scheduler: Any) -> Any:
    """Make a scheduler for one run.

    Args:
        name: one of ``SCHEDULERS``; None is the model's own.
        model_scheduler: the scheduler that the model came with; its noise schedule is kept.
    """
    if name is None:
        return type(model_scheduler).from_config(model_scheduler.config)
    choice = SCHEDULERS[name]
    return getattr(diffusers, choice.class_name).from_config(model_scheduler.config, **choice.options)


def scheduler_name(scheduler: Any) -> str:
    """The name of a model's own scheduler, as a request would spell it, else its class."""
    # The one that says the most about its options first, or it would pass for the plain one of its class.
    for name, choice in sorted(SCHEDULERS.items(), key=lambda entry: -len(entry[1].options)):
        if choice.class_name == type(scheduler).__name__ and all(
            scheduler.config.get(key) == value for key, value in choice.options.items()
        ):
            return name
    return type(scheduler).__name__
