"""Makes the scheduler that a request names, fresh for each run, because schedulers hold state."""

from inspect import signature
from typing import Any

import diffusers

from sd_api.generation.schedulers import SCHEDULERS

# The schedulers for models whose noise is that of EDM (arXiv:2206.00364); with any other they draw garbage.
_EDM = {
    "euler": "EDMEulerScheduler",
    "dpm++": "EDMDPMSolverMultistepScheduler",
    "dpm++-2m-sde": "EDMDPMSolverMultistepScheduler",
}
_ZERO_SNR = "rescale_betas_zero_snr"


def usable_schedulers(model_scheduler: Any) -> tuple[str, ...]:
    """The names of those that draw what the model was trained to draw.

    Args:
        model_scheduler: the scheduler that the model came with.
    """
    if type(model_scheduler).__name__.startswith("EDM"):
        return tuple(_EDM)
    if not model_scheduler.config.get(_ZERO_SNR):
        return tuple(SCHEDULERS)
    # The others know no last step of pure noise (arXiv:2305.08891).
    classes = {name: getattr(diffusers, choice.class_name) for name, choice in SCHEDULERS.items()}
    return tuple(name for name, found in classes.items() if _ZERO_SNR in signature(found.__init__).parameters)


def make_scheduler(name: str | None, model_scheduler: Any) -> Any:
    """Make a scheduler for one run.

    Args:
        name: one of ``SCHEDULERS``; None is the model's own, and so is one that is not usable with it.
        model_scheduler: the scheduler that the model came with; its noise schedule is kept.
    """
    if name is None or name not in usable_schedulers(model_scheduler):
        return type(model_scheduler).from_config(model_scheduler.config)
    choice = SCHEDULERS[name]
    if type(model_scheduler).__name__.startswith("EDM"):
        algorithm = {"algorithm_type": choice.options["algorithm_type"]} if "algorithm_type" in choice.options else {}
        return getattr(diffusers, _EDM[name]).from_config(model_scheduler.config, **algorithm)
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
