"""How a picture was made, as text that other tools read, and back.

The form is the one that AUTOMATIC1111's web UI writes into the ``parameters`` text chunk of
its PNG files, and that most viewers, organisers and other servers understand: the prompt, lines
with the negative prompt, and one line of ``key: value`` pairs. The keys are declared with the
operations' fields.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, NoneType
from typing import Any, get_args

from sd_api import __version__
from sd_api.generation.fields import Field, fields_of
from sd_api.generation.operations import OPERATIONS
from sd_api.generation.schedulers import SCHEDULERS, find_scheduler
from sd_api.generation.spec import JobSpec, Outputs, PictureSeeds

# The key beside "Sampler"; older writers have both in one value, as in "DPM++ 2M Karras".
_SCHEDULE = "Schedule type"

# Other writers of this format begin with these, in this order.
_FIRST = ("Steps", "Sampler", _SCHEDULE, "CFG scale", "Seed", "Size", "Model")

_NEGATIVE = "Negative prompt"

_REGIONS = "Regions"
# The value of that key for the schedule of the sampler or the model itself.
_AUTOMATIC = "Automatic"

# One pair after the other from the start of the line, by the pattern that the format's readers use.
_PAIR = re.compile(r'\s*([^\s:,][^:,]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')


@dataclass(frozen=True)
class Parameters:
    """What a parameters text tells.

    Attributes:
        fields: The values of fields, by their canonical names; ``seed``, ``width`` and ``height`` are among them.
        model: The name of the model; None where the text does not tell it.
        regions: What the model worked on, see ``Plan.text``; None where it was the whole picture at once.
        pairs: Every key of the last line with its value, as they stand there.
    """

    fields: dict[str, Any]
    model: str | None
    regions: str | None = None
    pairs: dict[str, str] = field(default_factory=dict, compare=False)


def parameters_text(
    spec: JobSpec,
    picture: PictureSeeds,
    *,
    scheduler: str,
    model: str,
    further: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Tell how one picture was made.

    A field is left out where it has its default, and the plan where all was made at once.

    Args:
        spec: What was asked for.
        picture: The seeds of this picture.
        scheduler: The one that ran; the model's own where the job named none.
        model: The name of the model, without the folders of this machine.
        further: Pairs of what was found out meanwhile, such as the hashes of files.
    """
    operation = spec.operation
    width, height = spec.size
    pairs: dict[str, object] = {"Seed": picture.seed, "Size": f"{width}x{height}", "Model": model}
    choice = SCHEDULERS.get(scheduler)
    if choice is not None and choice.schedule is not None:
        pairs[_SCHEDULE] = choice.schedule
    chosen = {"scheduler": scheduler if choice is None else choice.sampler, "variation_seed": picture.variation}
    for declared in fields_of(type(operation)):
        value = chosen.get(declared.name, getattr(operation, declared.name))
        if declared.param.png_key is not None and value != declared.default:
            pairs[declared.param.png_key] = value if declared.entry is None else "; ".join(map(str, value))
    pairs |= {f"ControlNet {number}": control.text() for number, control in enumerate(operation.controls)}
    negative = pairs.pop(_NEGATIVE, None)
    if not spec.plan.whole:
        pairs[_REGIONS] = spec.plan.text()
    pairs |= further
    pairs["Version"] = f"sd-api-server {__version__}"
    order = [*(key for key in _FIRST if key in pairs), *(key for key in pairs if key not in _FIRST)]

    # What would end the text chunk early cannot be part of it.
    lines = [operation.prompt.replace("\0", " ")]
    mark = f"\n{_NEGATIVE}: "
    # The last line that begins so is read as the negative prompt, even where one of the prompt does.
    if negative is not None or mark in operation.prompt:
        lines.append(f"{_NEGATIVE}: {negative or ''}".replace("\0", " ").replace(mark, " " + mark[1:]))
    lines.append(", ".join(f"{key}: {_quoted(pairs[key])}" for key in order))
    return "\n".join(lines)


def read_parameters(text: str) -> Parameters | None:
    """Read a parameters text; None for a text of another kind.

    Values that are no numbers where there should be some are left out.
    """
    *lines, last = text.split("\n")
    if not last.startswith("Steps: "):
        return None
    pairs = {}
    at = 0
    while (match := _PAIR.match(last, at)) and match.end() > at:
        pairs[match[1].strip()] = _unquoted(match[2].strip())
        at = match.end()
    start = f"{_NEGATIVE}: "
    negative = max(
        (number for number, line in enumerate(lines) if number and line.startswith(start)), default=len(lines)
    )
    fields: dict[str, Any] = {
        "prompt": "\n".join(lines[:negative]),
        "negative_prompt": "\n".join(lines[negative:]).removeprefix(start),
    }
    for declared in _written_fields():
        if (value := _value(declared, pairs.get(declared.param.png_key or ""))) is not None:
            fields[declared.name] = value
    if "scheduler" in fields:
        schedule = pairs.get(_SCHEDULE, _AUTOMATIC)
        sampler = fields["scheduler"] if schedule == _AUTOMATIC else f"{fields['scheduler']} {schedule}"
        fields["scheduler"] = find_scheduler(sampler) or sampler
    if size := re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", pairs.get("Size", "")):
        fields["width"], fields["height"] = int(size[1]), int(size[2])
    return Parameters(fields, pairs.get("Model"), pairs.get(_REGIONS), pairs)


def _written_fields() -> list[Field]:
    operations = (*OPERATIONS.values(), Outputs)
    every = (declared for operation in operations for declared in fields_of(operation))
    return [declared for declared in every if declared.param.png_key is not None]


def _value(declared: Field, text: str | None) -> Any:
    if text is None or declared.entry is not None:
        return None
    (kind,) = set(get_args(declared.type) or (declared.type,)) - {NoneType}
    try:
        return text == "True" if kind is bool else kind(text)
    except ValueError:
        return None


def _quoted(value: object) -> str:
    # Every digit, because a rounded strength can mean another number of steps.
    text = str(value).removesuffix(".0") if isinstance(value, float) else str(value).replace("\n", " ")
    # A comma or a colon inside a value would end it early in the readers of this format.
    if any(separator in text for separator in ',:"'):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
