"""Which pipelines of diffusers make a model's operations, as diffusers' auto classes know it."""

from functools import cache
from typing import Any

from diffusers.pipelines.auto_pipeline import (
    AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
    AUTO_INPAINT_PIPELINES_MAPPING,
    AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
)

from sd_api.generation.operation import OperationName

_MAPPINGS: dict[OperationName, Any] = {
    "txt2img": AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
    "img2img": AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
    "masking": AUTO_INPAINT_PIPELINES_MAPPING,
}


@cache
def auto_classes(class_name: str) -> dict[OperationName, Any]:
    """The pipeline class for each operation of the model that ``class_name`` is a pipeline of.

    Args:
        class_name: As in ``model_index.json``, of any of the operations.

    Returns:
        Nothing for models that do not draw from text alone.
    """
    for kind in AUTO_TEXT2IMAGE_PIPELINES_MAPPING:
        # Those need a second image or another model beside the text.
        if "controlnet" in kind:
            continue
        classes = {name: mapping[kind] for name, mapping in _MAPPINGS.items() if kind in mapping}
        if class_name in {pipeline.__name__ for pipeline in classes.values()}:
            return classes
    return {}
