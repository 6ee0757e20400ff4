"""The schedulers that a request may name, and the names that other programs have for them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

KARRAS = "Karras"
"""What other programs call the sigmas of arXiv:2206.00364."""

TRAILING = "SGM Uniform"
"""What other programs call timesteps that begin with the noisiest one, however few they are (arXiv:2305.08891)."""

SCHEDULES: tuple[str, ...] = (KARRAS, TRAILING)
"""The names of the schedules in other programs."""


@dataclass(frozen=True)
class SchedulerChoice:
    """A diffusers scheduler by the name of its class.

    Attributes:
        class_name: a class of the ``diffusers`` package; a name, so that this room needs no torch.
        sampler: its name in AUTOMATIC1111's web UI, without the schedule.
        options: what differs from the model's own scheduler configuration.
        aliases: further names, as other programs have them.
        takes_eta: whether its steps take ``eta``, a share of noise that is drawn anew.
    """

    class_name: str
    sampler: str
    options: Mapping[str, object] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    takes_eta: bool = False

    @property
    def schedule(self) -> str | None:
        """Which of ``SCHEDULES`` it has; None where it follows the model's configuration."""
        if self.options.get("use_karras_sigmas") is True:
            return KARRAS
        return TRAILING if self.options.get(_SPACING) == "trailing" else None

    @property
    def label(self) -> str:
        """Its name in AUTOMATIC1111's web UI, with the schedule."""
        return self.sampler if self.schedule is None else f"{self.sampler} {self.schedule}"


_SPACING = "timestep_spacing"

# The plain schedule; stated, because a model's own configuration may have another one.
_SIGMAS = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}

# arXiv:2211.01095; the stochastic ones draw noise at each step.
_DPM = {"algorithm_type": "dpmsolver++", **_SIGMAS}
_SDE = {"algorithm_type": "sde-dpmsolver++", **_SIGMAS}

_PLAIN: Mapping[str, SchedulerChoice] = {
    # PNDM without its Runge-Kutta warm-up is the PLMS of the first Stable Diffusion release.
    "plms": SchedulerChoice("PNDMScheduler", "PLMS", {"skip_prk_steps": True}, ("pndm",)),
    "ddim": SchedulerChoice("DDIMScheduler", "DDIM", takes_eta=True),
    "k-lms": SchedulerChoice("LMSDiscreteScheduler", "LMS", _SIGMAS, ("klms",)),
    "euler": SchedulerChoice("EulerDiscreteScheduler", "Euler", _SIGMAS),
    "euler-a": SchedulerChoice("EulerAncestralDiscreteScheduler", "Euler a", {}, ("euler_ancestral",)),
    "heun": SchedulerChoice("HeunDiscreteScheduler", "Heun", _SIGMAS),
    "dpm++": SchedulerChoice("DPMSolverMultistepScheduler", "DPM++ 2M", _DPM, ("dpmsolver++",)),
    "dpm++-sde": SchedulerChoice("DPMSolverSinglestepScheduler", "DPM++ SDE", {**_SDE, "lower_order_final": True}),
    "dpm++-2m-sde": SchedulerChoice("DPMSolverMultistepScheduler", "DPM++ 2M SDE", _SDE),
    "unipc": SchedulerChoice("UniPCMultistepScheduler", "UniPC", _SIGMAS, ("uni_pc_bh2",)),
    # For models and LoRAs that were distilled to few steps: arXiv:2310.04378 and arXiv:2402.19159.
    "lcm": SchedulerChoice("LCMScheduler", "LCM"),
    "tcd": SchedulerChoice("TCDScheduler", "TCD", takes_eta=True),
}


def _with_karras(plain: SchedulerChoice) -> SchedulerChoice:
    options = {**plain.options, "use_karras_sigmas": True}
    return SchedulerChoice(plain.class_name, plain.sampler, options, (f"{plain.sampler}_k",))


_KARRAS = {
    f"{name}-karras": _with_karras(choice) for name, choice in _PLAIN.items() if choice.options.keys() >= _SIGMAS.keys()
}

# For what was distilled to few steps, of which the first would begin in the middle of the noise otherwise.
_TRAILING = {
    f"{name}-trailing": replace(_PLAIN[name], options={**_PLAIN[name].options, _SPACING: "trailing"}, aliases=())
    for name in ("euler", "euler-a")
}

SCHEDULERS: Mapping[str, SchedulerChoice] = {**_PLAIN, **_KARRAS, **_TRAILING}

WITH_ETA = tuple(name for name, choice in SCHEDULERS.items() if choice.takes_eta)
"""Those whose steps take ``eta``."""


def find_scheduler(name: str) -> str | None:
    """The scheduler that a name means: ours, or another program's, such as "DPM++ 2M Karras" or ``k_euler_a``.

    Case, blanks, hyphens and underscores do not matter.

    Returns:
        One of ``SCHEDULERS``; None if it means none of them.
    """
    return _BY_KEY.get(_key(name))


def _key(name: str) -> str:
    """What the spellings of a name have in common; their programs' prefixes and suffixes are left out."""
    plain = re.sub(r"^(sample|k)[\s_-]|(scheduler|_gpu)$", "", name.casefold().replace("++", "pp").strip())
    return re.sub(r"[\s_-]", "", plain)


_BY_KEY = {
    _key(spelling): name for name, choice in SCHEDULERS.items() for spelling in (name, choice.label, *choice.aliases)
}
# diffusers' own names of those that differ in their class.
_BY_KEY |= {_key(SCHEDULERS[name].class_name): name for name in ("k-lms", "euler", "euler-a", "heun", "dpm++", "unipc")}
