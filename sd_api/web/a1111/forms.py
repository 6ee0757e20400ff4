"""What a request of this dialect may have: A1111's fields, and beside them this server's own under their own names."""

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from sd_api.errors import InvalidField, InvalidFields
from sd_api.generation.operation import OperationName
from sd_api.generation.operations import OPERATIONS, TextToImage
from sd_api.generation.projection import Dialect
from sd_api.generation.reading import TAKES_LONG_TEXT, Reading
from sd_api.generation.refusals import faults_in, in_short, wrong_type
from sd_api.generation.schedulers import WITH_ETA
from sd_api.generation.spec import JobSpec
from sd_api.generation.unknown_fields import MOST_NAMED, unknown_fields
from sd_api.web.a1111.samplers import scheduler_of
from sd_api.web.a1111.units import SCRIPT, arguments, entry_of, units_of

A1111 = Dialect(
    names={
        "scheduler": "sampler_name",
        "guidance": "cfg_scale",
        "variation_seed": "subseed",
        "variation_strength": "subseed_strength",
        "image": "init_images",
        "strength": "denoising_strength",
        "image_guidance": "image_cfg_scale",
        "true_guidance": "true_cfg_scale",
        "context": "inpaint_full_res_padding",
        "mask_invert": "inpainting_mask_invert",
        # Multiplied by n_iter, before it is validated.
        "num_outputs": "batch_size",
    },
    defaults={
        "prompt": "",
        "steps": 50,
        "scheduler": "euler",
        "guidance": 7.0,
        "strength": 0.75,
        "context": 0,
        "mask_blur": 4,
        "width": 512,
        "height": 512,
        "seed": -1,
        "variation_seed": -1,
    },
    stands_for_none={"seed": frozenset({-1}), "variation_seed": frozenset({-1})},
    # Its answers have no place for an offset.
    left_out=frozenset({"output"}),
    image=Annotated[str, Field(min_length=1), TAKES_LONG_TEXT],
    image_form="base64 text or a data: URL",
    image_example=lambda png: b64encode(png).decode(),
)

FILLS = ("border", "original", "noise", "neutral")
"""What each number of ``inpainting_fill`` is here."""

# What other servers call a job has parentheses; these characters are safe in a path and in a header.
TaskId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_().-]{1,64}$")]


class Asked(BaseModel):
    """The fields of every request that are not those of an operation.

    Attributes:
        n_iter: How often ``batch_size`` pictures are made.
        scheduler: The schedule of the sampler; its name or its label.
        override_settings: Options for this request alone, see ``Options``.
        override_settings_restore_afterwards: Whether these options are as they were before, once it is accepted.
        alwayson_scripts: The arguments of extensions, by their names.
        send_images: Whether the answer has the pictures.
        force_task_id: The job's id.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    n_iter: int = Field(default=1, ge=1, le=1000, description="how often batch_size pictures are made")
    sampler_index: str | None = Field(default=None, description="an older name of sampler_name", examples=["Euler a"])
    scheduler: str = Field(default="Automatic", max_length=100, description="Automatic or Karras")
    override_settings: dict[str, Any] = Field(
        default={}, description="options for this request alone", examples=[{"CLIP_stop_at_last_layers": 2}]
    )
    override_settings_restore_afterwards: bool = Field(
        default=True, description="false makes these options those of later requests too"
    )
    alwayson_scripts: dict[str, Any] = Field(
        default={}, description="the arguments of extensions, by their names", examples=[{}]
    )
    send_images: bool = Field(default=True, description="whether the answer has the pictures")
    force_task_id: TaskId | None = Field(default=None, description="the id of the job", examples=["my-first-picture"])


class AskedOfImage(Asked):
    """The further fields of img2img.

    Attributes:
        resize_mode: How the image is brought to ``width`` and ``height``: 0 and 3 stretch it, 1 crops it, 2 fills up.
        mask_blur_x: With ``mask_blur_y``: the larger one is ``mask_blur``.
        inpaint_full_res: Whether the model works on the masked parts of the image at its own size, rather than on all
            of it at ``width`` and ``height``; see ``inpaint_area``.
        inpainting_fill: What a masked part begins with, see ``fill``.
    """

    resize_mode: int = Field(default=0, ge=0, le=3, description="0 and 3 stretch the image, 1 crops, 2 fills up")
    mask_blur_x: int | None = Field(
        default=None, ge=0, le=512, description="with mask_blur_y: the larger one is mask_blur", examples=[4]
    )
    mask_blur_y: int | None = Field(
        default=None, ge=0, le=512, description="with mask_blur_x: the larger one is mask_blur", examples=[4]
    )
    inpaint_full_res: bool = Field(
        default=True, description="true: inpaint_area masked, at the size of the image; false: whole, at the other size"
    )
    inpainting_fill: int = Field(
        default=0, ge=0, le=3, description="which fill: " + ", ".join(f"{at} {fill}" for at, fill in enumerate(FILLS))
    )

    @property
    def in_our_terms(self) -> dict[str, Any]:
        """The fields of masking that these mean, by this server's names."""
        blurs = [blur for blur in (self.mask_blur_x, self.mask_blur_y) if blur is not None]
        return {
            "inpaint_area": "masked" if self.inpaint_full_res else "whole",
            "fill": FILLS[self.inpainting_fill],
            **({"mask_blur": max(blurs)} if blurs else {}),
        }


_NAMES: Mapping[OperationName, str] = {
    "txt2img": "A1111TextToImage",
    "img2img": "A1111ImageToImage",
    "masking": "A1111Inpainting",
    "edit": "A1111Edit",
}

_SIDES = {side.name: A1111.model_field(side) for side in A1111.fields(TextToImage) if side.name in ("width", "height")}

FORMS: Mapping[OperationName, type[Asked]] = {
    name: A1111.model(operation, _NAMES[name], Asked)
    if name == "txt2img"
    else A1111.model(operation, _NAMES[name], AskedOfImage, **_SIDES)
    for name, operation in OPERATIONS.items()
}
"""The request for each operation; ``init_images`` has been replaced by its only image."""

# Programs send the fields of all operations with each.
_OF_ANY_OPERATION = frozenset(name for form in FORMS.values() for name in form.model_fields)

# Fields of A1111 that are accepted in silence, because they change no picture here or only act with refused ones.
NO_EFFECT = (
    *("comments", "disable_extra_networks", "distilled_cfg_scale", "do_not_save_grid", "do_not_save_samples"),
    *("firstphase_height", "firstphase_width", "hr_additional_modules", "hr_cfg", "hr_checkpoint_name"),
    *("hr_distilled_cfg", "hr_negative_prompt", "hr_prompt", "hr_resize_x", "hr_resize_y", "hr_sampler_name"),
    *("hr_scale", "hr_scheduler", "hr_second_pass_steps", "hr_upscaler", "include_init_images", "infotext"),
    *("latent_mask", "mask_round", "refiner_switch_at", "s_tmax", "s_tmin", "save_images", "script_args"),
    "seed_enable_extras",
)

REFUSED = {
    "enable_hr": "hires fix",
    "restore_faces": "face restoration",
    "tiling": "tiling",
    "script_name": "script",
    "styles": "prompt styles",
    "refiner_checkpoint": "refiner",
    "seed_resize_from_w": "resizing of seeds",
    "seed_resize_from_h": "resizing of seeds",
    "s_churn": "churn of samplers",
    "s_noise": "noise factor of samplers",
    "s_min_uncond": "steps without the negative prompt",
    "initial_noise_multiplier": "factor of the first noise",
}
"""Fields that would change the picture by what this server does not have, and what that is."""

A1111_ALONE = (*NO_EFFECT, *REFUSED)
"""Fields of A1111 that no operation of this server has."""

KNOWN = frozenset({*_OF_ANY_OPERATION, *A1111_ALONE})
"""Every field that a request may have, whatever its operation."""

_MEANS_NOTHING = frozenset({"", "0", "0.0", "-1", "false", "none"})

# Factors that change nothing at 1.
_FACTORS = frozenset({"s_noise", "initial_noise_multiplier"})

_NETWORK = re.compile(r"<hypernet:([^:>]{1,100})[^>]{0,100}>")


def decode_fields(
    came: Mapping[str, Any], operation: OperationName, reading: Reading, model: str | None, said: Mapping[str, Any]
) -> tuple[JobSpec, Asked]:
    """Turn the fields of a request into a job.

    Args:
        came: Those that came, without those that are null or empty.
        operation: What to do.
        reading: The limits, and how images are read; afterwards it has the images, and warnings of ignored fields.
        model: See JobSpec.
        said: Fields of which the options say something, which counts where the request does not.

    Raises:
        InvalidFields: Naming every field that is malformed, out of limits, or asks for what is not here.
        SamplerNotFound: There is no such sampler.
    """
    ignored = unknown_fields(A1111, OPERATIONS[operation], list(came), KNOWN)
    reading.warnings += [f"{sentence}." for sentence in ignored]
    faults = _refusals(came)
    try:
        fields = _in_our_terms(_followed(came, reading))
        read = FORMS[operation].model_validate({**said, **fields}, context=reading)
    except ValidationError as error:
        raise InvalidFields([*faults, *faults_in(error, wrong_type)]) from None
    if faults:
        raise InvalidFields(faults)
    return A1111.spec(OPERATIONS[operation], read, reading, model=model), read


def _in_our_terms(came: Mapping[str, Any]) -> dict[str, Any]:
    fields = {**own_fields(came).in_our_terms, **came}
    if not {"sampler_name", "sampler_index", "scheduler"}.isdisjoint(fields):
        sampler = in_short(fields.get("sampler_name", fields.get("sampler_index", "Euler")))
        fields["sampler_name"] = scheduler_of(sampler, in_short(fields.get("scheduler", "Automatic")))
    if fields.get("sampler_name") not in WITH_ETA:
        # Some programs send eta with everything.
        fields.pop("eta", None)
    if (size := as_whole(fields.get("batch_size", 1))) is not None:
        fields["batch_size"] = size * (as_whole(fields.get("n_iter", 1)) or 1)
    return fields


def as_whole(value: Any) -> int | None:
    """A whole number that may come as text or as a float; None where it is something else."""
    try:
        number = float(value)
        return int(number) if number == int(number) else None
    except (TypeError, ValueError, OverflowError):
        return None


def own_fields(came: Mapping[str, Any]) -> AskedOfImage:
    """The fields that say how images are read; the defaults where any is faulty, which is found with all others."""
    try:
        return AskedOfImage.model_validate(came)
    except ValidationError:
        return AskedOfImage()


def _refusals(came: Mapping[str, Any]) -> list[InvalidField]:
    faults = [
        InvalidField(name, f"asks for the {what}, which this server does not have; leave it out")
        for name, what in REFUSED.items()
        if name in came and not _means_nothing(name, came[name])
    ]
    prompts = {name: _NETWORK.search(str(came.get(name, ""))) for name in ("prompt", "negative_prompt")}
    return faults + [
        InvalidField(name, f"names the hypernetwork {network[1]!r}, and this server has none; leave it out")
        for name, network in prompts.items()
        if network
    ]


def _followed(came: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    """The fields with ControlNet's units as entries of ``controls``; other extensions are not there."""
    scripts = came.get("alwayson_scripts")
    if not isinstance(scripts, dict):
        return dict(came)
    missing = [name[:100] for name, script in scripts.items() if name.lower() != SCRIPT and arguments(script)]
    if missing:
        names = ", ".join(missing[:MOST_NAMED])
        reading.warnings.append(f"This server does not have the extensions {names}; they were ignored.")
    entries = [entry_of(unit, number, reading.warnings) for number, unit in enumerate(units_of(scripts))]
    own = came.get("controls", [])
    return {**came, "controls": [*(own if isinstance(own, list) else [own]), *entries]} if entries else dict(came)


def _means_nothing(name: str, value: Any) -> bool:
    """Whether a value of a field asks for nothing, as the usual values do that programs send with every request."""
    if isinstance(value, list):
        return all(_means_nothing(name, each) for each in value)
    text = in_short(value).lower()
    return text in _MEANS_NOTHING or (name in _FACTORS and text in ("1", "1.0"))
