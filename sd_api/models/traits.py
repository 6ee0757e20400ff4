"""What distinguishes the checkpoints of one architecture: what the network predicts, and for how few steps it was made.

The shapes of two such checkpoints are the same, and the wrong choice draws noise. So all evidence is asked, the firmest
first: keys that trainers leave in the file, its metadata, the step at which training ended, the weights, its name.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sd_api.models.headers import Header

EPSILON, V_PREDICTION = "epsilon", "v_prediction"

# The steps at which the training of the published models of Stable Diffusion 2 ended.
_STEPS_OF_V2 = {875_000: EPSILON, 220_000: EPSILON, 140_000: V_PREDICTION, 110_000: V_PREDICTION}
# A weight that grows in Stable Diffusion 2 when it learns velocities; its deviation is above this then.
_TELLING_WEIGHT = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
_TELLING_DEVIATION = 0.09

_NAMED_STEPS = re.compile(r"(?<!\d)(\d{1,2})[-_ ]?steps?(?![a-z])", re.IGNORECASE)
_NAMED_V = re.compile(r"v[-_ ]?pred|velocity", re.IGNORECASE)


@dataclass(frozen=True)
class Distillation:
    """How a model is run that was made for few steps, as its publisher says.

    Attributes:
        pattern: What its name or title has.
        scheduler: The class of its scheduler.
        steps: For a name that does not say how many.
        guidance: 1 and less is none.
        options: The options of its scheduler.
    """

    pattern: re.Pattern[str]
    scheduler: str
    steps: int
    guidance: float
    options: Mapping[str, object]


_TRAILING: Mapping[str, object] = {"timestep_spacing": "trailing"}

DISTILLATIONS: Mapping[str, Distillation] = {
    # arXiv:2402.13929
    "lightning": Distillation(re.compile("(?i:lightning)"), "EulerDiscreteScheduler", 4, 0.0, _TRAILING),
    # arXiv:2404.13686; "hyper" alone is in the names of many realistic models.
    "hyper": Distillation(
        re.compile(r"(?i:hyper(?=[-_ ]?(sd|xl|vae|\d)|[-_ .]|$))"), "DDIMScheduler", 8, 0.0, _TRAILING
    ),
    # arXiv:2405.14867
    "dmd2": Distillation(re.compile("(?i:dmd2)"), "LCMScheduler", 4, 0.0, _TRAILING),
    # arXiv:2311.05556
    "lcm": Distillation(re.compile("(?<![A-Z])LCM(?![A-Z])|(?<![a-z])lcm(?![a-z])"), "LCMScheduler", 4, 1.0, {}),
    # arXiv:2311.17042; one step suffices it, and images need more than one to begin in the middle.
    "turbo": Distillation(re.compile("(?i:turbo)"), "EulerAncestralDiscreteScheduler", 4, 0.0, _TRAILING),
}


@dataclass(frozen=True)
class Traits:
    """What is known of a checkpoint.

    Attributes:
        prediction_type: What the network predicts, as diffusers' schedulers call it; None where nothing says it.
        zero_snr: Whether it was trained with a last step of pure noise (arXiv:2305.08891).
        distillation: For few steps.
        steps: The steps to make by default; None for the usual number.
    """

    prediction_type: str | None = None
    zero_snr: bool = False
    distillation: Distillation | None = None
    steps: int | None = None

    @property
    def defaults(self) -> dict[str, Any]:
        """The values of fields where a request names none."""
        if self.distillation is None:
            return {}
        # Its own scheduler is the one that it was distilled for, whichever a dialect takes by default.
        return {
            "steps": self.steps or self.distillation.steps,
            "guidance": self.distillation.guidance,
            "scheduler": None,
        }

    def scheduler(self, class_name: str, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The class and configuration of the scheduler that suits a checkpoint.

        Args:
            class_name: The one of its architecture.
            config: Its configuration.
        """
        changed = dict(config)
        if self.prediction_type is not None:
            changed["prediction_type"] = self.prediction_type
        # At zero terminal SNR, predicted noise says nothing about the image, so no model was trained so.
        if self.zero_snr and changed.get("prediction_type", EPSILON) != EPSILON:
            changed |= {"rescale_betas_zero_snr": True, **_TRAILING}
            # It has no such option.
            class_name = "DDIMScheduler" if class_name == "PNDMScheduler" else class_name
        if self.distillation is not None:
            class_name, changed = self.distillation.scheduler, {**changed, **self.distillation.options}
        return class_name, changed


def traits_of_name(*names: str) -> Traits:
    """What names and titles say."""
    text = " ".join(names)
    found = next((each for each in DISTILLATIONS.values() if each.pattern.search(text)), None)
    steps = _NAMED_STEPS.search(text) if found else None
    return Traits(distillation=found, steps=int(steps[1]) if steps and int(steps[1]) else None)


def titles_of(header: Header) -> list[str]:
    """What a file is called, by its name and its metadata."""
    return [header.name, *(header.metadata.get(key, "") for key in ("modelspec.title", "ss_output_name"))]


def traits_of(header: Header, read: Callable[[str], Any], *, version_2: bool, is_whole: bool) -> Traits:
    """What a file's keys, metadata, weights and name say.

    Args:
        header: Of the file.
        read: Reads one of its tensors.
        version_2: Whether it is of Stable Diffusion 2 with 4 channels, some of which predict velocities.
        is_whole: Whether no other model says what it is, either.
    """
    titles = titles_of(header)
    named = traits_of_name(*titles)
    last = {name.rpartition(".")[2] for name in header.tensors}
    predictions = (*_predictions(header, last), *(_predictions_of_v2(header, read) if version_2 else ()))
    named_v = V_PREDICTION if _NAMED_V.search(" ".join(titles)) else None
    fallback = V_PREDICTION if version_2 and is_whole else None
    return Traits(
        prediction_type=next(filter(None, (*predictions, named_v)), fallback),
        zero_snr="ztsnr" in last or header.metadata.get("ss_zero_terminal_snr") == "True",
        distillation=named.distillation,
        steps=named.steps,
    )


def _predictions(header: Header, last: set[str]) -> Iterator[str | None]:
    if "v_pred" in last:
        yield V_PREDICTION
    said = header.metadata.get("modelspec.prediction_type", "").casefold()
    yield {"v": V_PREDICTION, "v_prediction": V_PREDICTION, "epsilon": EPSILON, "eps": EPSILON}.get(said)
    if header.metadata.get("ss_v_parameterization") == "True":
        yield V_PREDICTION


def _predictions_of_v2(header: Header, read: Callable[[str], Any]) -> Iterator[str | None]:
    architecture = header.metadata.get("modelspec.architecture", "")
    if architecture.startswith("stable-diffusion-v2-768-v"):
        yield V_PREDICTION
    elif architecture.startswith("stable-diffusion-v2-512"):
        yield EPSILON
    step = header.metadata.get("global_step", "")
    if "global_step" in header.tensors:
        step = str(int(read("global_step")))
    yield _STEPS_OF_V2.get(int(step)) if step.isdecimal() else None
    if re.search(r"768[-_ ]?v", header.name, re.IGNORECASE):
        yield V_PREDICTION
    if re.search(r"512[-_ ]?(base|ema)|2[-_.]?[01][-_ ]?(base|512)", header.name, re.IGNORECASE):
        yield EPSILON
    if _TELLING_WEIGHT in header.tensors:
        deviation = float(read(_TELLING_WEIGHT).float().std(correction=0))
        yield V_PREDICTION if deviation > _TELLING_DEVIATION else EPSILON
