"""Makes the scheduler that a request names, fresh for each run, because schedulers hold state."""

from collections.abc import Mapping
from inspect import signature
from typing import Any, Literal

import diffusers
import torch

from sd_api.generation.schedulers import SCHEDULERS

Noise = Literal["flow", "trigonometric", "consistency", "diffusion"]
"""What a model was trained to lead out of, and how its schedulers count time."""

# The schedulers for models whose noise is that of EDM (arXiv:2206.00364); with any other they draw garbage.
_EDM = {
    "euler": "EDMEulerScheduler",
    "dpm++": "EDMDPMSolverMultistepScheduler",
    "dpm++-2m-sde": "EDMDPMSolverMultistepScheduler",
}
_ZERO_SNR = "rescale_betas_zero_snr"

# Models that predict a flow (arXiv:2210.02747) take these by the same names: the class, and the options with which
# diffusers' solvers follow a flow. The others run without an error and draw noise.
_FOLLOWS_FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
FLOW_SCHEDULERS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "heun": ("FlowMatchHeunDiscreteScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", **_FOLLOWS_FLOW}),
    "unipc": ("UniPCMultistepScheduler", _FOLLOWS_FLOW),
}


_CLASSES_WITH_KNOWN_STEPS = {
    *(choice.class_name for choice in SCHEDULERS.values()),
    *(class_name for class_name, _ in FLOW_SCHEDULERS.values()),
    *_EDM.values(),
}


def has_known_steps(class_name: str) -> bool:
    """Whether the arguments of a scheduler's steps are those that the families give."""
    return class_name in _CLASSES_WITH_KNOWN_STEPS


def usable_schedulers(model_scheduler: Any) -> tuple[str, ...]:
    """The names of those that draw what the model was trained to draw.

    Args:
        model_scheduler: the scheduler that the model came with.
    """
    if is_flow(model_scheduler):
        return tuple(FLOW_SCHEDULERS)
    if _is_edm(model_scheduler):
        return tuple(_EDM)
    if not model_scheduler.config.get(_ZERO_SNR):
        return tuple(SCHEDULERS)
    # The others know no last step of pure noise (arXiv:2305.08891).
    classes = {name: getattr(diffusers, choice.class_name) for name, choice in SCHEDULERS.items()}
    return tuple(name for name, found in classes.items() if _ZERO_SNR in signature(found.__init__).parameters)


def make_scheduler(name: str | None, model_scheduler: Any) -> Any:
    """Make a scheduler for one run.

    Args:
        name: one of ``usable_schedulers``; None is the model's own, and so is one that is not usable with it.
        model_scheduler: the scheduler that the model came with; its noise schedule is kept.
    """
    config = model_scheduler.config
    if name is None or name not in usable_schedulers(model_scheduler):
        return type(model_scheduler).from_config(config)
    if is_flow(model_scheduler):
        class_name, options = FLOW_SCHEDULERS[name]
        # The classes for flows alone and the others have two names for it.
        shift = config.get("shift", config.get("flow_shift", 1.0))
        options = {**options, "flow_shift": shift} if options else {"shift": shift}
        return getattr(diffusers, class_name).from_config(config, **options)
    choice = SCHEDULERS[name]
    if _is_edm(model_scheduler):
        algorithm = {"algorithm_type": choice.options["algorithm_type"]} if "algorithm_type" in choice.options else {}
        return getattr(diffusers, _EDM[name]).from_config(config, **algorithm)
    return getattr(diffusers, choice.class_name).from_config(config, **choice.options)


def _is_edm(scheduler: Any) -> bool:
    return type(scheduler).__name__.startswith("EDM")


def is_flow(scheduler: Any) -> bool:
    """Whether it is for a model that predicts a flow, rather than noise, the original or both."""
    flow: bool = type(scheduler).__name__.startswith("FlowMatch") or scheduler.config.get("use_flow_sigmas", False)
    return flow


def is_trigonometric(scheduler: Any) -> bool:
    """Whether its timesteps are angles between the original and noise (arXiv:2410.11081)."""
    return bool(scheduler.config.get("prediction_type") == "trigflow")


def noise_of(scheduler: Any) -> Noise:
    """What a scheduler leads out of, which has to be what the model was trained with."""
    if is_flow(scheduler):
        return "flow"
    # A configuration may have options of another class.
    known = signature(scheduler.set_timesteps).parameters
    if "intermediate_timesteps" in known:
        return "trigonometric"
    return "consistency" if "original_inference_steps" in known else "diffusion"


def noised(scheduler: Any, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """Latents at the noise level of timesteps; the classes for flows alone have a name of their own for it."""
    if is_trigonometric(scheduler):
        return torch.cos(timesteps) * latents + torch.sin(timesteps) * noise
    if hasattr(scheduler, "scale_noise"):
        return scheduler.scale_noise(latents, timesteps, noise)  # type: ignore[no-any-return]
    return scheduler.add_noise(latents, noise, timesteps)  # type: ignore[no-any-return]


def step_options(scheduler: Any, eta: float, generator: torch.Generator) -> dict[str, Any]:
    """The arguments that a scheduler's step takes, as diffusers' pipelines choose them."""
    options = {"eta": eta, "generator": generator}
    return {name: value for name, value in options.items() if name in signature(scheduler.step).parameters}


def scheduler_name(scheduler: Any) -> str:
    """The name of a model's own scheduler, as a request would spell it, else its class."""
    if is_flow(scheduler):
        class_name = type(scheduler).__name__
        return next((name for name, (flow, _) in FLOW_SCHEDULERS.items() if flow == class_name), class_name)
    # The one that says the most about its options first, or it would pass for the plain one of its class.
    for name, choice in sorted(SCHEDULERS.items(), key=lambda entry: -len(entry[1].options)):
        if choice.class_name == type(scheduler).__name__ and all(
            scheduler.config.get(key) == value for key, value in choice.options.items()
        ):
            return name
    return type(scheduler).__name__
