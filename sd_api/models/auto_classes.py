"""Which pipelines of diffusers make a model's operations, as diffusers' auto classes know it."""

from functools import cache
from typing import Any

from sd_api.generation.operation import OperationName


@cache
def auto_classes(class_name: str) -> dict[OperationName, Any]:
    """The pipeline class for each operation of the model that ``class_name`` is a pipeline of.

    Args:
        class_name: As in ``model_index.json``, of any of the operations.

    Returns:
        Nothing for models that do not draw from text alone.
    """
    # Imported only for models that no family of its own runs, because it imports every pipeline, which takes seconds.
    from diffusers.pipelines import auto_pipeline

    mappings: dict[OperationName, Any] = {
        "txt2img": auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
        "img2img": auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
        "masking": auto_pipeline.AUTO_INPAINT_PIPELINES_MAPPING,
    }
    for kind in mappings["txt2img"]:
        # Those need a second image or another model beside the text.
        if "controlnet" in kind:
            continue
        classes = {name: mapping[kind] for name, mapping in mappings.items() if kind in mapping}
        if class_name in {pipeline.__name__ for pipeline in classes.values()}:
            return classes
    return {}
