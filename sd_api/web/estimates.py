"""The answer to what a request would take, in every dialect."""

from typing import Any

from pydantic import BaseModel, Field

from sd_api.generation.operation import OperationName
from sd_api.generation.plan import Box, Pass, Size, size_of
from sd_api.generation.spec import JobSpec
from sd_api.jobs.estimates import Estimate


class SizeInPixels(BaseModel):
    """A size."""

    width: int = Field(description="pixels", examples=[512])
    height: int = Field(description="pixels", examples=[512])


class Rectangle(SizeInPixels):
    """A part of the picture."""

    left: int = Field(description="pixels from the left edge of the picture", examples=[0])
    top: int = Field(description="pixels from the upper edge of the picture", examples=[0])


class EstimatedPass(BaseModel):
    """One way through the model."""

    box: Rectangle = Field(description="what the model sees of the picture")
    size: SizeInPixels = Field(description="the size at which it works")
    scale: float = Field(
        description="how much larger or smaller than in the picture it draws, along a side", examples=[1.0]
    )
    tiles: int = Field(description="in how many tiles it works; 0 if all at once", examples=[0])
    tile: SizeInPixels | None = Field(description="the size of one tile; null without tiles")
    steps: int = Field(description="its denoising steps", examples=[25])


class EstimatedRegion(BaseModel):
    """A part of the picture that is made by itself."""

    edit: Rectangle = Field(description="what is replaced of the picture")
    passes: list[EstimatedPass] = Field(
        description="one, or a first one at the model's own scale and a second one in tiles"
    )


class EstimatedSeconds(BaseModel):
    """A time with its range."""

    expected: float = Field(description="the estimate", examples=[12.0])
    least: float = Field(description="the lower end of its range", examples=[10.0])
    most: float = Field(description="the upper end of its range", examples=[14.4])
    of_others: bool = Field(
        description="whether its model has made no picture yet, so that the time follows from another model's jobs and "
        "what both compute, with a wide range",
        examples=[False],
    )


class EstimatedMemory(BaseModel):
    """Memory in bytes, as far as it is known."""

    images: int = Field(
        description="the images that came, as files and decoded, and one finished picture", examples=[786432]
    )
    latents: int = Field(description="the latents of the largest pass, about", examples=[65536])
    model: int | None = Field(
        description="the model's weights; null where neither it is loaded nor its files are known beforehand",
        examples=[4265000000],
    )
    device: int | None = Field(
        description="the most of the device's memory, for one picture of the model's own size with the images that the "
        "request has the model see, and of the files of its ControlNets, IP-Adapters and LoRAs; null likewise",
        examples=[3600000000],
    )
    disk: int | None = Field(
        description="the model's files on the server's disk; null if it is not downloaded yet", examples=[2740000000]
    )


class EstimateAnswer(BaseModel):
    """What a request would take if it was sent now."""

    operation: OperationName = Field(description="what it does", examples=["txt2img"])
    size: SizeInPixels = Field(description="the size of each picture")
    pictures: int = Field(description="how many pictures it makes", examples=[1])
    summary: str = Field(
        description="the regions and tiles of each picture in few words", examples=["2 regions of 512×512"]
    )
    regions: list[EstimatedRegion] = Field(description="what is computed of each picture")
    steps: int = Field(description="the denoising steps of all pictures and regions", examples=[25])
    seconds: EstimatedSeconds | None = Field(
        description="how long it will work, by the measured jobs of its model, else by those of another; null before "
        "there are any"
    )
    wait_seconds: float | None = Field(
        description="how long it will wait for other jobs, at most; null before their models have measured jobs",
        examples=[0.0],
    )
    loaded: bool = Field(
        description="whether its model is loaded; if not, the regions may change, and loading takes its own time",
        examples=[True],
    )
    memory: EstimatedMemory = Field(description="how much memory it needs")
    how: list[str] = Field(
        description="how the model runs on this machine, or would once it is loaded, and why; empty where that is "
        "not known",
        examples=[["fp16, weights as published, all parts on the device, native attention: 3.6 GB"]],
    )
    warnings: list[str] = Field(
        description="what its answer will warn of, as far as that is known",
        examples=[["clip_skip: this model has no use for it, so it is not used."]],
    )


def estimate_json(found: Estimate) -> dict[str, Any]:
    """An estimate as plain JSON."""
    spec, duration = found.spec, found.forecast.duration
    passes = [[_pass(spec, each) for each in region.passes] for region in spec.plan.regions]
    answer = EstimateAnswer(
        operation=spec.operation.name,
        size=_size(spec.size),
        pictures=len(spec.seeds),
        summary=spec.plan.summary(),
        regions=[
            EstimatedRegion(edit=_rectangle(region.edit), passes=own)
            for region, own in zip(spec.plan.regions, passes, strict=True)
        ],
        steps=len(spec.seeds) * sum(each.steps for own in passes for each in own),
        seconds=None if duration is None else EstimatedSeconds(**duration._asdict()),
        wait_seconds=found.forecast.wait,
        loaded=found.loaded,
        memory=EstimatedMemory.model_validate(found.memory, from_attributes=True),
        how=list(found.plan),
        warnings=list(found.warnings),
    )
    return answer.model_dump(mode="json")


def _pass(spec: JobSpec, one: Pass) -> EstimatedPass:
    return EstimatedPass(
        box=_rectangle(one.box),
        size=_size(one.size),
        scale=one.inner[0] / size_of(one.box)[0],
        tiles=len(one.tiles),
        tile=_size(one.forward) if one.tiles else None,
        steps=spec.steps_of(one),
    )


def _size(size: Size) -> SizeInPixels:
    return SizeInPixels(width=size[0], height=size[1])


def _rectangle(box: Box) -> Rectangle:
    width, height = size_of(box)
    return Rectangle(left=box[0], top=box[1], width=width, height=height)
