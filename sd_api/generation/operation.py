"""What every operation of a diffusion model has: the fields that all of them share, and what they promise."""

from collections.abc import Iterator
from dataclasses import InitVar, dataclass
from typing import Annotated, ClassVar, Literal

from sd_api.errors import InvalidField, InvalidFields, OutOfLimits
from sd_api.generation.controls import MAX_CONTROLS, Control
from sd_api.generation.fields import Field, Param, fields_of
from sd_api.generation.prompted import PROMPTS, Prompted
from sd_api.generation.references import MAX_REFERENCES, Reference
from sd_api.generation.schedulers import SCHEDULERS, WITH_ETA, find_scheduler
from sd_api.generation.seeds import MAX_SEED
from sd_api.prompting.loras import loras_of_json
from sd_api.prompting.parser import MAX_WEIGHT
from sd_api.prompting.prompt import Lora
from sd_api.settings import Limits

OperationName = Literal["txt2img", "img2img", "masking", "edit"]

# Beyond this every pixel is saturated; it also keeps half-precision arithmetic finite.
MAX_GUIDANCE = 100.0

# One latent cell is 8 pixels wide and the UNet halves its input three times.
MIN_SIDE = 64


def _name_problem(text: str, limits: Limits) -> str | None:  # noqa: ARG001 - as Param.check has it
    return None if text.isprintable() else f"is {text[:40]!r}; a name is one line of text"


def _loras_problem(text: str, limits: Limits) -> str | None:  # noqa: ARG001 - as Param.check has it
    try:
        loras_of_json(text, MAX_WEIGHT)
    except ValueError as error:
        return str(error)
    return None


@dataclass(frozen=True, kw_only=True)
class Operation(Prompted):
    """What every operation of a diffusion model has.

    The constructor enforces every range, so that all dialects refuse alike.

    Raises:
        InvalidFields: Naming each field that is outside ``limits``, by its canonical name.
    """

    name: ClassVar[OperationName]

    steps: Annotated[
        int,
        Param(
            label="Steps",
            aliases=("num_inference_steps", "num_steps", "sampling_steps", "ddim_steps", "sample_steps"),
            description="Denoising steps of a full schedule.",
            example=20,
            low=1,
            high="max_num_inference_steps",
            per_image=True,
            control="slider",
            step=1,
            slider_high=100,
            png_key="Steps",
        ),
    ]
    scheduler: Annotated[
        str | None,
        Param(
            label="Scheduler",
            aliases=("sampler", "sampler_name", "sampler_index", "sampling_method"),
            description="How the steps are made; the model's own where none is named. Other programs' names, such as "
            "DPM++ 2M Karras or k_euler_a, are understood as well.",
            example="ddim",
            choices=tuple(SCHEDULERS),
            labels=tuple(choice.label for choice in SCHEDULERS.values()),
            find=find_scheduler,
            per_image=True,
            control="choice",
            png_key="Sampler",
        ),
    ] = None
    guidance: Annotated[
        float,
        Param(
            label="Guidance",
            aliases=("guidance_scale", "cfg", "cfg_scale", "scale"),
            description="How closely the prompt is followed (classifier-free guidance, arXiv:2207.12598); "
            "it acts above 1.",
            example=7.5,
            low=0,
            high=MAX_GUIDANCE,
            per_image=True,
            control="slider",
            step=0.5,
            slider_high=20,
            png_key="CFG scale",
        ),
    ]
    true_guidance: Annotated[
        float,
        Param(
            label="True guidance",
            aliases=("true_cfg_scale", "true_cfg"),
            description="Classifier-free guidance by the negative prompt for a model whose guidance is an input; it "
            "acts above 1, and a step then costs twice as much.",
            example=1.0,
            low=0,
            high=MAX_GUIDANCE,
            per_image=True,
            requires="true_guidance",
            control="slider",
            step=0.5,
            slider_high=10,
            png_key="True CFG scale",
        ),
    ] = 1.0
    eta: Annotated[
        float,
        Param(
            label="Eta",
            aliases=("ddim_eta",),
            description="Noise added at each step (arXiv:2010.02502); only some schedulers use it: "
            f"{', '.join(WITH_ETA)}.",
            example=0.0,
            low=0,
            high=1,
            per_image=True,
            acts_with=("scheduler", WITH_ETA),
            step=0.1,
            png_key="Eta",
        ),
    ] = 0.0
    clip_skip: Annotated[
        int,
        Param(
            label="CLIP skip",
            aliases=("clip_stop_at_last_layers",),
            description="The layer of the text encoder that is read, counted from its end; 1 is the one that the "
            "model was trained with.",
            example=1,
            low=1,
            high=12,
            per_image=True,
            requires="clip_skip",
            step=1,
            png_key="Clip skip",
        ),
    ] = 1
    variation_seed: Annotated[
        int | None,
        Param(
            label="Variation seed",
            aliases=("subseed",),
            description="The seed of the second noise, for the first picture; the next picture has one more. "
            "One is chosen for each picture where none is given.",
            example=7,
            low=0,
            high=MAX_SEED,
            per_image=True,
            requires="variations",
            control="seed",
            png_key="Variation seed",
        ),
    ] = None
    variation_strength: Annotated[
        float,
        Param(
            label="Variation strength",
            aliases=("subseed_strength",),
            description="The share of the second noise, mixed in by spherical interpolation; above 0 all pictures "
            "of a request have the same seed and differ in their variation seeds.",
            example=0.0,
            low=0,
            high=1,
            per_image=True,
            requires="variations",
            control="slider",
            step=0.05,
            png_key="Variation seed strength",
        ),
    ] = 0.0
    safety_filter: Annotated[
        bool | None,
        Param(
            label="Safety filter",
            aliases=("safety_checker", "enable_safety_checker", "nsfw_filter", "nsfw"),
            description="Whether flagged pictures come back black; the model's own setting where it is not said.",
            example=True,
            per_image=True,
            control="switch",
        ),
    ] = None
    loras: Annotated[
        str | None,
        Param(
            label="LoRAs",
            description="The LoRAs that act beside those of the prompt, as a JSON object of names and weights; of two "
            "weights the second is that in the text encoders.",
            example="{}",
            longest="max_prompt_length",
            check=_loras_problem,
            per_image=True,
            requires="loras",
            control="line",
            png_key="LoRAs",
        ),
    ] = None
    references: Annotated[
        tuple[Reference, ...],
        Param(
            label="References",
            description="Images that the picture takes after, or that an instruction speaks of: a JSON array of "
            "images, or of objects with image, adapter, weight, start and end.",
            example=(),
            low=0,
            high=MAX_REFERENCES,
            per_image=True,
            requires="references",
            control="images",
            png_key="References",
            aliases=("reference_images", "ip_adapter_image", "image_reference"),
        ),
    ] = ()
    controls: Annotated[
        tuple[Control, ...],
        Param(
            label="Controls",
            description="Maps that the picture follows, such as edges or depth: a JSON array of objects with model, "
            "image, preprocessor, weight, start, end, resize and kind.",
            example=(),
            low=0,
            high=MAX_CONTROLS,
            per_image=True,
            requires="controls",
            control="images",
            aliases=("controlnet", "controlnets", "control_image", "controlnet_units"),
        ),
    ] = ()
    vae: Annotated[
        str | None,
        Param(
            label="VAE",
            aliases=("sd_vae", "vae_name", "autoencoder"),
            description="The autoencoder in place of the model's own, which an empty name stands for, by the name of "
            "its file; see docs/prompts.md.",
            example="vae-ft-mse-840000-ema-pruned",
            longest="max_prompt_length",
            check=_name_problem,
            names="vaes",
            requires="vae",
            control="line",
            png_key="VAE",
        ),
    ] = None
    limits: InitVar[Limits]

    def __post_init__(self, limits: Limits) -> None:
        if faults := list(self._faults(limits)):
            raise InvalidFields(faults)

    def _faults(self, limits: Limits) -> Iterator[InvalidField]:
        refused = set()
        for field in fields_of(type(self)):
            if problem := field.param.problem(getattr(self, field.name), limits):
                refused.add(field.name)
                yield OutOfLimits(field.name, problem)
            elif field.entry is not None:
                yield from self._entry_faults(field, limits)
        yield from self._control_faults()
        if not refused.intersection(PROMPTS):
            yield from self._prompt_faults()

    def _entry_faults(self, field: Field, limits: Limits) -> Iterator[InvalidField]:
        for number, entry in enumerate(getattr(self, field.name)):
            for each in fields_of(field.entry):
                if problem := each.param.problem(getattr(entry, each.name), limits):
                    yield OutOfLimits(f"{field.name}.{number}.{each.name}", problem)
            if entry.problem is not None:
                yield OutOfLimits(f"{field.name}.{number}.start", entry.problem)

    def _control_faults(self) -> Iterator[InvalidField]:
        """What is wrong with controls for this operation."""
        for number, control in enumerate(self.controls):
            if control.image is None and not hasattr(self, "image"):
                yield InvalidField(f"controls.{number}.image", f"is missing; {self.name} has no image of its own")
            if control.preprocessor == "inpaint" and not hasattr(self, "mask"):
                yield OutOfLimits(f"controls.{number}.preprocessor", "is inpaint, which takes a mask")

    @property
    def asked_loras(self) -> dict[str, tuple[Lora, ...]]:
        """The LoRAs that are to act, by the fields that name them."""
        return {"prompt": self.read("prompt").loras, "loras": loras_of_json(self.loras or "{}", MAX_WEIGHT)}

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the result, in pixels."""
        raise NotImplementedError

    @property
    def steps_run(self) -> int:
        """The denoising steps that are made, 0 to ``steps``; without any, the result is the image that was sent."""
        return self.steps
