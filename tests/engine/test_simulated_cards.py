"""The real engine with the sizes of published models on cards that are counted: memory never runs out in vain."""

import random
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from requested import request
from running import serve
from simulated_card import Card, Module

from sd_api.engine import engine as engine_module
from sd_api.engine import memory as engine_memory
from sd_api.engine.engine import DiffusersEngine
from sd_api.errors import OutOfMemory
from sd_api.generation.abilities import MEGAPIXEL, ModelAbilities
from sd_api.generation.images import ImageRef
from sd_api.generation.references import Reference
from sd_api.jobs.job import Job
from sd_api.models import decoding, placement, streaming
from sd_api.models.component import Component
from sd_api.models.decoding import decode
from sd_api.models.families.base import Row
from sd_api.models.library import LoadedModel
from sd_api.models.memory_plan import OVERHEAD, plan_memory
from sd_api.models.memory_values import Machine, MemoryPlan, Wishes
from sd_api.models.model_sizes import DENOISER, ITEM_BYTES, ModelSizes
from sd_api.models.placement import Placement
from sd_api.models.published import PUBLISHED
from sd_api.models.working_memory import decoding_bytes, denoising_bytes

GB = 2**30
REQUESTS = 1000
# Pictures are this much smaller than the memory that they are counted with, so that finishing them takes no time.
SCALE = 8
REFERENCE = Reference(image=ImageRef.of(Image.new("RGB", (64, 64)), "image"))


class Parts:
    """The components of a published model on a card."""

    def __init__(self, sizes: ModelSizes, plan: MemoryPlan, card: Card, place: Any) -> None:
        self.sizes, self.plan, self.card, self.place, self.tile = sizes, plan, card, place, 0
        self.components = {
            part.name: Component(part.name, Module(card, part.name, plan.weights[part.name]))
            for part in sizes.components
        }
        self.pipeline = SimpleNamespace(scheduler=None)
        self.size = sum(plan.weights.values())
        self.denoiser = self.components[sizes.denoiser.name]

    def run(self, names: Sequence[str], working: int) -> None:
        """Have components on the card, and take what they need while they run."""
        self.place([self.components[name] for name in names])
        streamed = sum(residue(self.sizes, self.plan, name) for name in names if name not in self.card.on)
        self.card.work(working + streamed)


def residue(sizes: ModelSizes, plan: MemoryPlan, name: str) -> int:
    """What the layers of a streamed component take at a time."""
    part = next(part for part in sizes.components if part.name == name)
    return min(2 * part.largest * ITEM_BYTES[plan.dtype], plan.weights[name])


class Decoder:
    """An autoencoder with 8 pixels for each of the latents, which takes memory by the size of what it decodes."""

    dtype = torch.float32
    config = SimpleNamespace(block_out_channels=(1,) * 4, scaling_factor=1.0)

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._part = next(part for part in parts.sizes.components if part.role == "autoencoder")

    def decode(self, latents: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        rows, _channels, height, width = latents.shape
        needed = decoding_bytes(
            self._part, (8 * SCALE * width, 8 * SCALE * height), dtype=self._parts.plan.dtype, tile=0
        )
        self._parts.card.work(rows * needed)
        return (torch.zeros(rows, 3, 8 * height, 8 * width),)


class Family:
    """Draws black pictures, and takes memory as the formulas say."""

    name, max_rows = "simulated", 16

    def abilities(self, parts: Any) -> ModelAbilities:
        return ModelAbilities(modes=("txt2img",), size_multiple=8, native_size=1024)

    def warnings(self, parts: Parts, operation: Any) -> Iterator[str]:
        return iter(())

    def encode(self, parts: Parts, operation: Any, look_alive: Callable[[], None]) -> None:
        words = [part.name for part in parts.sizes.components if part.role == "text"]
        parts.run(words, max(parts.plan.working[name] for name in words))

    def start(self, parts: Parts, operation: Any, seeds: Any, size: tuple[int, int], *_: Any) -> Row:
        seen = len(operation.references) * MEGAPIXEL
        latents = torch.zeros(1, 4, size[1] // 8, size[0] // 8)
        return Row(key=(size, seen), scheduler_name="none", steps=1, latents=latents)

    def predict(self, parts: Parts, rows: Sequence[Row]) -> list[None]:
        key: Any = rows[0].key
        size, seen = key
        parts.run([parts.denoiser.name], denoising(parts.sizes, parts.plan, size, seen, len(rows)))
        return [None] * len(rows)

    def advance(self, row: Row, prediction: None) -> None:
        row.step += 1

    def preview(self, *_: Any) -> None:
        return None

    def decode(self, parts: Parts, rows: Sequence[Row], warnings: list[str]) -> list[Image.Image]:
        parts.place([parts.components["vae"]])
        pixels = decode(Decoder(parts), torch.cat([row.latents for row in rows]), warnings, parts.tile)  # type: ignore[misc]
        return [Image.new("RGB", (picture.shape[2], picture.shape[1])) for picture in pixels]


def denoising(sizes: ModelSizes, plan: MemoryPlan, size: tuple[int, int], seen: int, rows: int) -> int:
    each = 2 if sizes.guided else 1
    scaled = SCALE * size[0], SCALE * size[1]
    return denoising_bytes(sizes.denoiser, scaled, rows=each * rows, dtype=plan.dtype, seen=seen)


def least(sizes: ModelSizes, plan: MemoryPlan, size: tuple[int, int], seen: int) -> int:
    """What the slowest way takes: layers streamed, one picture at a time, the smallest tiles."""
    streamed = {part.name: residue(sizes, plan, part.name) for part in sizes.components}
    stages = [denoising(sizes, plan, size, seen, 1) + streamed[sizes.denoiser.name]]
    words = [part for part in sizes.components if part.role == "text"]
    stages.append(sum(streamed[part.name] for part in words) + max(plan.working[part.name] for part in words))
    vae = next(part for part in sizes.components if part.role == "autoencoder")
    scaled = SCALE * size[0], SCALE * size[1]
    stages.append(decoding_bytes(vae, scaled, dtype=plan.dtype, tile=256) + streamed["vae"])
    return max(stages)


class Library:
    """The part of ``ModelLibrary`` that the engine calls, with one model."""

    def __init__(self, model: LoadedModel, placed: Placement) -> None:
        self._model, self.place = model, placed.use
        self.make_room, self.slow_down = placed.make_room, placed.slow_down
        self.run_as_planned = placed.run_as_planned

    def get(self, name: str | None) -> LoadedModel:
        return self._model

    def planned(self) -> tuple[()]:
        return ()

    def memory(self) -> tuple[()]:
        return ()

    def abilities(self) -> dict[str | None, ModelAbilities]:
        return {None: self._model.abilities}

    def flops(self) -> dict[str | None, float]:
        return {}

    def safety_filter(self, *_: Any) -> None:
        return None


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "apply_group_offloading", lambda module, **_: None)
    monkeypatch.setattr(decoding, "AUTOENCODER_TILES", (0, 512 // SCALE, 256 // SCALE))
    for module in (placement, decoding, engine_module, engine_memory):
        monkeypatch.setattr(module, "free_memory", lambda: None)


@pytest.mark.usefixtures("_quick")
def test_of_random_requests_none_runs_out_of_memory_that_a_slower_way_would_have_made() -> None:
    chance = random.Random(0)
    made = failed = as_planned = 0
    while made + failed < REQUESTS:
        name, total = chance.choice(list(PUBLISHED)), chance.choice((4, 6, 8, 12, 16, 24)) * GB
        sizes, free = PUBLISHED[name], total - GB // 4
        wishes = Wishes(memory=chance.choice(("auto", "fast", "low")))
        machine = Machine(kind="cuda", total=total, free=free, host_free=64 * GB, dtype="fp16")
        plan = plan_memory(sizes, machine, wishes)
        # After the plan was made, other programs may take a part of the card.
        stolen = chance.choice((0.0, 0.0, 0.1, 0.3))
        card = Card(round((free - OVERHEAD) * (1 - stolen)))
        placed = Placement(torch.device("cuda"), card.free)
        parts: Any = Parts(sizes, plan, card, placed.use)
        placed.follow(plan, parts)
        family: Any = Family()
        library: Any = Library(LoadedModel(name, family, parts, None, False, 0, {}, plan), placed)
        device: Any = SimpleNamespace(device=torch.device("cuda"), dtype=plan.dtype)
        engine = DiffusersEngine(library, device, name)
        native = sizes.native[0] // SCALE
        for _ in range(10):
            size = [8 * max(8, round(native * chance.choice((0.5, 1, 1, 1.5, 2)) / 8)) for _side in "wh"]
            count = chance.choice((1, 1, 2, 4))
            references = (REFERENCE,) * chance.choice((0, 1, 2, 3, 6)) if sizes.seen else ()
            seen = len(references) * MEGAPIXEL
            job = Job(request(size=(size[0], size[1]), seeds=tuple(range(count)), references=references))
            serve(engine, [job])
            assert not placed._slowed, "what one picture has slowed down is whole for the next one"
            try:
                job.result()
                made += 1
                as_planned += plan.fits and not stolen
            except OutOfMemory:
                failed += 1
                asked = (name, total / GB, plan.summary, size, seen)
                assert least(sizes, plan, (size[0], size[1]), seen) > card.capacity, asked
                beyond = size[0] * size[1] > native**2 or seen > sizes.seen
                assert stolen or not plan.fits or beyond, "what the plan is for fits"
    # Few of the pictures are beyond all ways.
    assert failed < REQUESTS / 10
    assert as_planned > REQUESTS / 3


def test_denoisers_of_published_models_are_named() -> None:
    assert all(sizes.denoiser.role == DENOISER for sizes in PUBLISHED.values())
