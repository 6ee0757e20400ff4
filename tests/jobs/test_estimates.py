"""What a job would take: what its model sees beside the picture, and what runs beside it, count."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pictures import photograph
from requested import LIMITS
from tiny_model import tiny_model

from sd_api.generation.abilities import MEGAPIXEL, ModelAbilities, SeenImages
from sd_api.generation.controls import Control
from sd_api.generation.engine import EngineStatus, PlannedModel
from sd_api.generation.images import ImageRef
from sd_api.generation.operations import Edit
from sd_api.generation.references import Reference
from sd_api.generation.spec import JobSpec
from sd_api.jobs.estimates import estimate
from sd_api.jobs.queue import Forecast
from sd_api.models.folders import ModelFolders
from sd_api.models.providers import CatalogModel
from sd_api.models.sources import ModelDirectory

KLEIN = CatalogModel(None, "local", "klein", ModelDirectory(tiny_model()), "klein", requires_safety_checker=False)


def test_references_controls_and_loras_are_memory_and_time(tmp_path: Path) -> None:
    (tmp_path / "controlnet").mkdir()
    (tmp_path / "controlnet" / "edges.safetensors").write_bytes(b"x" * 77)
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "ink.safetensors").write_bytes(b"x" * 600)
    picture = ImageRef.of(photograph(64, 64), "image")
    sees = SeenImages(changed=None, least=MEGAPIXEL, most=MEGAPIXEL)
    able = ModelAbilities(modes=("edit",), size_multiple=8, native_size=64, seen=sees)
    runs = PlannedModel(model="klein", bytes=10, peak=1000, seen=sees.usual(64 * 64), more_seen=300, reasons=())
    queue: Any = SimpleNamespace(
        status=lambda: EngineStatus("ready", "klein", planned=(runs,), abilities={None: able}),
        forecast=lambda _spec, _flops: Forecast(None, 0.0),
    )
    one, three = (
        estimate(
            queue,
            JobSpec(
                operation=Edit(
                    prompt="a <lora:ink:0.5>" if count > 1 else "a",
                    loras='{"ink": 0.5}' if count > 1 else None,
                    steps=4,
                    guidance=1.0,
                    image=picture,
                    references=(Reference(image=picture),) * count,
                    controls=(Control(model="edges", image=picture),) * (count // 3),
                    limits=LIMITS,
                ),
                seeds=(7,),
                limits=LIMITS,
            ),
            KLEIN,
            ModelFolders(trees=[tmp_path]),
        )
        for count in (1, 3)
    )
    assert (one.memory.device, three.memory.device) == (1000, 2277)
    assert three.spec.work > 2 * one.spec.work
