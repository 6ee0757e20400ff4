"""The schedulers that a request may name."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SchedulerChoice:
    """A diffusers scheduler by the name of its class.

    Attributes:
        class_name: a class of the ``diffusers`` package; a name, so that this room needs no torch.
        options: what differs from the model's own scheduler configuration.
    """

    class_name: str
    options: Mapping[str, object] = field(default_factory=dict)


SCHEDULERS: Mapping[str, SchedulerChoice] = {
    # PNDM without its Runge-Kutta warm-up is the PLMS of the first Stable Diffusion release.
    "plms": SchedulerChoice("PNDMScheduler", {"skip_prk_steps": True}),
    "ddim": SchedulerChoice("DDIMScheduler"),
    "k-lms": SchedulerChoice("LMSDiscreteScheduler"),
    "euler": SchedulerChoice("EulerDiscreteScheduler"),
    "euler-a": SchedulerChoice("EulerAncestralDiscreteScheduler"),
    "heun": SchedulerChoice("HeunDiscreteScheduler"),
    "dpm++": SchedulerChoice("DPMSolverMultistepScheduler"),
    "dpm++-karras": SchedulerChoice("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "unipc": SchedulerChoice("UniPCMultistepScheduler"),
}
