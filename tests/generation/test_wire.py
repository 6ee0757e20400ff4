"""A job comes out of the wire as it went in."""

import json
from importlib.resources import files

import pytest
from asked import LIMITS, asked
from pictures import photograph

from sd_api.errors import InvalidFields, OutOfLimits
from sd_api.generation import wire
from sd_api.generation.fields import fields_of
from sd_api.generation.operation import Operation
from sd_api.generation.operations import OPERATIONS, ImageToImage
from sd_api.generation.spec import JobSpec
from sd_api.settings import Limits


def sent(spec: JobSpec, limits: Limits = LIMITS) -> JobSpec:
    return wire.read_spec(json.loads(json.dumps(wire.plain_values(spec))), wire.image_contents(spec), limits)


@pytest.mark.parametrize("operation", OPERATIONS.values())
def test_every_field_arrives(operation: type[Operation]) -> None:
    spec = asked(operation)
    defaults = [field.name for field in fields_of(operation) if getattr(spec.operation, field.name) == field.default]
    assert defaults == []
    arrived = sent(spec)
    assert arrived == spec
    assert arrived.batch_key == spec.batch_key


def test_images_arrive_as_they_came() -> None:
    arrived = sent(asked(ImageToImage)).operation
    assert isinstance(arrived, ImageToImage)
    assert arrived.image.pixels.tobytes() == photograph(70, 90).tobytes()


def test_narrower_limits_refuse_by_name() -> None:
    with pytest.raises(InvalidFields, match=r"^steps is "):
        sent(asked(ImageToImage), Limits(max_num_inference_steps=1))
    with pytest.raises(OutOfLimits, match=r"^their_image has 70 x 90 pixels"):
        sent(asked(ImageToImage), Limits(max_image_pixels=70))


def test_the_cluster_forgets_every_image_at_the_end_of_its_job() -> None:
    common = (files("sd_api.jobs.cluster") / "scripts" / "common.lua").read_text(encoding="utf-8")
    forgetting = [line for line in common.splitlines() if "'HDEL', key" in line]
    assert any(all(f"'{name}'" in line for name in wire.IMAGE_FIELDS) for line in forgetting)
