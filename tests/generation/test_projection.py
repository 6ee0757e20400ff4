"""A dialect that exists nowhere else: its names, its defaults, and every fault at once."""

from typing import Any

import pytest
from asked import LIMITS
from pictures import photograph, png
from pydantic import BaseModel, ValidationError

from sd_api.errors import InvalidField, InvalidFields, OutOfLimits, OutOfMemory
from sd_api.generation.operations import Inpaint, TextToImage
from sd_api.generation.projection import Dialect
from sd_api.generation.reading import Reading
from sd_api.generation.refusals import faults_in
from sd_api.generation.spec import JobSpec
from sd_api.generation.stored_files import StoredFile
from sd_api.settings import Limits

FILES = {"photo": png(photograph(40, 30)), "mask": png(photograph(8, 8)), "text": b"hello"}


def content(field: str, value: str) -> bytes:
    try:
        return FILES[value]
    except KeyError:
        raise InvalidField(field, "is not there") from None


FRENCH = Dialect(
    names={"prompt": "invite", "steps": "pas", "image": "photo", "mask": "masque", "strength": "force"},
    defaults={"guidance": 5.0, "steps": 30, "seed": -1, "strength": 0.5, "width": 512, "height": 512},
    stands_for_none={"seed": frozenset({-1})},
    left_out=frozenset({"eta", "negative_prompt"}),
    image=str,
    image_form="the name of a file",
    image_example=lambda png: "an image",
)
PAINTING = FRENCH.model(Inpaint, "Peinture", BaseModel)
DRAWING = FRENCH.model(TextToImage, "Dessin", BaseModel)


def spec_of(fields: dict[str, Any], limits: Limits = LIMITS) -> JobSpec:
    reading = Reading(limits=limits, content=content)
    return FRENCH.spec(Inpaint, PAINTING.model_validate(fields, context=reading), reading, model=None)


def faults_of(fields: dict[str, Any], limits: Limits = LIMITS) -> dict[str, type[InvalidField]]:
    with pytest.raises(ValidationError) as refusal:
        spec_of(fields, limits)
    return {fault.field: type(fault) for fault in faults_in(refusal.value, lambda details: details["msg"])}


def test_a_request_becomes_a_job() -> None:
    spec = spec_of({"invite": " un chien ", "photo": "photo", "masque": "mask", "pas": 7, "seed": 3, "num_outputs": 2})
    assert isinstance(spec.operation, Inpaint)
    assert (spec.operation.prompt, spec.operation.steps, spec.operation.guidance) == ("un chien", 7, 5.0)
    assert (spec.operation.eta, spec.operation.negative_prompt) == (0.0, "")
    assert (spec.operation.image.content, spec.operation.image.field) == (FILES["photo"], "photo")
    assert spec.operation.mask is not None
    assert (spec.operation.mask.kind, spec.operation.mask.pixels.mode) == ("mask", "L")
    assert spec.seeds == (3, 4)
    assert spec.size == (40, 30)


def test_a_value_may_stand_for_none() -> None:
    given = {"invite": "un chien", "photo": "photo", "masque": "mask"}
    assert spec_of(given).seeds != spec_of(given).seeds


def test_every_fault_is_named_at_once_the_malformed_and_the_others() -> None:
    fields = {
        "pas": 0,
        "guidance": "much",
        "seed": -2,
        "photo": "text",
        "masque": "gone",
        "force": 2,
        "num_outputs": 99,
    }
    assert faults_of(fields) == {
        "invite": InvalidField,
        "pas": OutOfLimits,
        "guidance": InvalidField,
        "seed": OutOfLimits,
        "photo": InvalidField,
        "masque": InvalidField,
        "force": OutOfLimits,
        "num_outputs": OutOfLimits,
    }


def test_images_beyond_the_limits_are_named() -> None:
    given = {"invite": "un chien", "photo": "photo", "masque": "photo"}
    with pytest.raises(InvalidFields, match=r"^photo is 40×30 pixels; at most 39×2048 are allowed at once"):
        spec_of(given | {"inpaint_area": "whole"}, Limits(max_width=39))
    assert faults_of(given, Limits(max_image_pixels=1199)) == {"photo": OutOfLimits, "masque": OutOfLimits}


def test_what_does_not_fit_together_has_the_dialects_names() -> None:
    given = {"invite": "un chien", "photo": "photo", "masque": "mask", "pas": 1, "seed": 2**64 - 1, "num_outputs": 2}
    with pytest.raises(InvalidFields) as refusal:
        spec_of(given)
    assert [fault.field for fault in refusal.value.faults] == ["seed + num_outputs - 1"]


def test_the_schema_is_the_models() -> None:
    schema = DRAWING.model_json_schema()
    assert schema["required"] == ["invite"]
    steps = {"type": "integer", "minimum": 1, "default": 30}
    assert schema["properties"]["pas"] | steps == schema["properties"]["pas"]
    assert "maximum" not in schema["properties"]["pas"]
    assert schema["properties"]["guidance"]["maximum"] == 100
    assert {"eta", "photo", "steps"}.isdisjoint(schema["properties"])
    painting = PAINTING.model_json_schema()["properties"]
    assert painting["photo"]["description"] == "The image to start from. Sent as the name of a file."


def drawing(reading: Reading, *photos: str) -> JobSpec:
    fields = {"invite": "un chien", "references": list(photos)}
    return FRENCH.spec(TextToImage, DRAWING.model_validate(fields, context=reading), reading, model=None)


def test_an_image_that_comes_several_times_is_read_and_counted_once() -> None:
    read = []

    def counted(field: str, value: str) -> bytes:
        read.append(value)
        return content(field, value)

    spec = drawing(Reading(limits=LIMITS, content=counted), "photo", "mask", "photo", "photo")
    assert read == ["photo", "mask"]
    first, other, again, last = (each.image for each in spec.operation.references)
    assert first is again is last is not other
    assert spec.memory == first.memory + other.memory


def test_images_that_are_named_take_no_more_than_those_that_are_sent() -> None:
    size = len(FILES["photo"])
    limits = LIMITS.model_copy(update={"max_request_bytes": size + len(FILES["mask"]) - 1})

    def stored(field: str, value: str) -> StoredFile:
        return StoredFile(len(FILES[value]), lambda: content(field, value))

    held = Reading(limits=limits, content=stored)
    with pytest.raises(ValidationError) as refusal:
        drawing(held, "photo", "mask")
    (fault,) = faults_in(refusal.value, lambda details: details["msg"])
    assert isinstance(fault, OutOfLimits)
    assert fault.problem.startswith("brings the images of this request to ")
    # Two such requests are read at a time, and others once these are given up.
    second = Reading(limits=limits, content=stored)
    drawing(second, "photo")
    rest = limits.model_copy(update={"max_request_bytes": size})
    with pytest.raises(OutOfMemory):
        drawing(Reading(limits=rest, content=stored), "photo")
    del held, refusal
    drawing(Reading(limits=rest, content=stored), "photo")
