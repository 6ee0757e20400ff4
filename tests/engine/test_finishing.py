"""What becomes of a drawing, without a model."""

from io import BytesIO
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from icc import adobe_rgb
from PIL import Image
from requested import request

from sd_api.engine.finishing import finished
from sd_api.engine.passes import Drawn
from sd_api.generation.planning import UNKNOWN
from sd_api.imaging.profiles import from_srgb, to_srgb


@pytest.mark.parametrize(
    "fields", [{"seam": 0}, {"seam": 0, "extend": "16,0,0,8"}, None], ids=["masked", "extended", "redrawn"]
)
def test_a_drawing_in_a_saturated_document_is_not_paler_than_that(fields: dict[str, Any] | None) -> None:
    document = Image.new("RGB", (700, 600), (20, 200, 60))
    document.info["icc_profile"] = adobe_rgb()
    asked: dict[str, Any] = {"strength": 0.2}
    if fields is not None:
        mask = Image.new("L", document.size)
        mask.paste(255, (0, 300, 200, 600))
        asked |= {"mask": mask, "inpaint_area": "masked", **fields}
    spec = request(image=document, **asked).for_model(UNKNOWN)
    regions = [region.passes[-1].box for region in spec.plan.regions]
    # What the model was shown, which is all that it can draw.
    shown = [to_srgb(document, adobe_rgb()).resize((box[2] - box[0], box[3] - box[1])) for box in regions]
    assert np.abs(np.asarray(from_srgb(shown[0], adobe_rgb()), int)[0, 0] - (20, 200, 60)).max() > 40
    job: Any = SimpleNamespace(spec=spec, model=SimpleNamespace(label="a model"), names_files=False)
    picture = finished(job, Drawn(0, shown, nsfw=False), scheduler="ddim")
    result = np.asarray(Image.open(BytesIO(picture.png)), int)
    assert np.abs(result - (20, 200, 60)).max() <= 4
