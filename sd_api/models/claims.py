"""Compares what a model's configurations claim with the weights that it has, before memory is taken for them.

``--check`` and loading both do this with a folder that is a whole model; ``part_claims`` says how.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import SchedulerMixin
from transformers.models.clip.modeling_clip import CLIPPreTrainedModel

from sd_api.models.allowed_classes import class_of
from sd_api.models.bounded_files import FileFaultError, read_object
from sd_api.models.components import Parts
from sd_api.models.families.registry import family_of
from sd_api.models.image_words import processor_of
from sd_api.models.part_claims import compare_part, explained, scheduler_of
from sd_api.models.part_loading import added_parts
from sd_api.models.pipeline_files import parts
from sd_api.models.sources import MODEL_INDEX
from sd_api.models.trials import try_words


def find_claim_faults(directory: Path, pipeline_class: Any, components: Mapping[str, Any], *, half: bool) -> list[str]:
    """Find what of a model's configurations does not fit its weights, or makes no model.

    Args:
        directory: of a model whose files have no faults and whose weights are safetensors.
        pipeline_class: what it is loaded as.
        components: parts that are not the model's own.
        half: whether the publisher's weights in half precision are those to be loaded.

    Returns:
        One line for each fault.
    """
    made = dict(components)
    faults: list[str] = []
    entries = dict(parts(read_object(directory / MODEL_INDEX)))
    for name, (library, class_name) in entries.items():
        kind = class_of(library, class_name)
        try:
            if name not in made and issubclass(kind, torch.nn.Module):
                made[name] = compare_part(kind, directory / name, half=half)
            elif issubclass(kind, SchedulerMixin):
                path = directory / name / "scheduler_config.json"
                scheduler_of(kind, path, read_object(path))
        except FileFaultError as fault:
            faults.append(str(fault))
    if not faults:
        try:
            with explained(directory / MODEL_INDEX, pipeline_class):
                made |= added_parts(made, entries) | processor_of(directory, entries)
                pipeline = pipeline_class.from_pretrained(directory, local_files_only=True, **made)
                family_of(pipeline).abilities(Parts(pipeline, torch.device("meta"), lambda _: None))
            for suffix in ("", "_2"):
                words, encoder = pipeline.components.get(f"tokenizer{suffix}"), made.get(f"text_encoder{suffix}")
                if words is not None and isinstance(encoder, CLIPPreTrainedModel):
                    with explained(directory / f"tokenizer{suffix}" / "tokenizer_config.json", type(words)):
                        try_words(words, encoder.config)
        except FileFaultError as fault:
            faults.append(str(fault))
    return faults
