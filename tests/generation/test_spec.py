"""The job's own limits, which hold for every dialect, and its seeds."""

import re
from dataclasses import replace
from typing import Any

import pytest
from pictures import photograph, png
from PIL import Image

from sd_api.errors import InvalidFields
from sd_api.generation.abilities import ModelAbilities, SeenImages
from sd_api.generation.images import ImageRef
from sd_api.generation.operations import Edit, ImageToImage, Inpaint, TextToImage
from sd_api.generation.references import Reference
from sd_api.generation.seeds import MAX_SEED
from sd_api.generation.spec import ENCODING_STEPS, FORWARD_PIXELS, JobSpec, Outputs, PictureSeeds
from sd_api.generation.words import LONGER, READING_PIXELS
from sd_api.settings import Limits

LIMITS = Limits()


def image_of(image: Image.Image) -> ImageRef:
    return ImageRef(content=png(image), kind="image", field="init_image", max_pixels=2048 * 2048)


IMAGE = image_of(photograph(10, 20))
COMMON: dict[str, Any] = {"prompt": "a dog", "steps": 20, "guidance": 7.5, "limits": LIMITS}


def drawn(**changes: Any) -> TextToImage:
    return TextToImage(**{**COMMON, "width": 512, "height": 512, **changes})


def redrawn(**changes: Any) -> ImageToImage:
    return ImageToImage(**{**COMMON, "image": IMAGE, "strength": 0.8, **changes})


def job(**changes: Any) -> JobSpec:
    return JobSpec(**{"operation": drawn(), "seeds": (1, 2), "limits": LIMITS, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 64, "height": 2048},
        {"steps": 500},
        {"guidance": 0.0},
        {"eta": 1.0},
        {"prompt": "x" * 4000},
        {"clip_skip": 12},
        {"variation_seed": MAX_SEED, "variation_strength": 1.0},
    ],
)
def test_what_lies_on_the_limit_is_allowed(changes: dict[str, Any]) -> None:
    assert drawn(**changes)


@pytest.mark.parametrize("changes", [{"strength": 1.0}, {"strength": 0.05}])
def test_any_size_of_an_image_is_allowed(changes: dict[str, Any]) -> None:
    assert redrawn(**changes).size == (10, 20)


@pytest.mark.parametrize("seeds", [(0,), (MAX_SEED,), tuple(range(16))])
def test_seeds_on_the_limit_are_allowed(seeds: tuple[int, ...]) -> None:
    assert job(seeds=seeds).seeds == seeds


@pytest.mark.parametrize(
    ("strength", "steps", "run"),
    [(0.0, 20, 0), (-0.0, 1, 0), (1e-9, 1, 1), (0.04, 20, 1), (0.1, 20, 2), (0.75, 4, 3), (1 / 49, 49, 1), (1.0, 7, 7)],
)
def test_any_strength_above_zero_leaves_a_step(strength: float, steps: int, run: int) -> None:
    assert redrawn(strength=strength, steps=steps).steps_run == run
    assert job(operation=redrawn(strength=strength, steps=steps)).work > 0


def test_prompts_that_are_joined_are_work() -> None:
    one, four, plain = (
        job(operation=drawn(prompt=prompt, prompt_syntax=syntax))
        for prompt, syntax in (("a", "full"), ("a AND b AND c AND d", "full"), ("a AND b AND c AND d", "plain"))
    )
    step = 512 * 512 + FORWARD_PIXELS
    # Four predictions and the negative one, in place of two.
    assert four.work - one.work == len(one.seeds) * one.operation.steps * step * 1.5 + 3 * READING_PIXELS
    assert plain.work == one.work


def test_prompts_that_change_and_long_ones_are_work() -> None:
    one, two, three, plain, long, cut = (
        job(operation=drawn(prompt=prompt, steps=30, prompt_syntax=syntax))
        for prompt, syntax in (
            ("a", "full"),
            ("[a|b]", "full"),
            ("[a:b [c|d|e]:5] [f|g]", "full"),
            ("[a|b]", "plain"),
            ("a " * 450, "full"),
            ("a BREAK b BREAK c BREAK d", "full"),
        )
    )
    assert two.work - one.work == READING_PIXELS
    # Two stages, of which one has three alternatives, by two others: no more are counted.
    assert three.work - one.work == (2 * 3 * 2 - 1) * READING_PIXELS
    assert plain.work == one.work
    # Three chunks more, for both prompts.
    assert long.work == cut.work
    step = len(one.seeds) * one.operation.steps * (512 * 512 + FORWARD_PIXELS)
    assert long.work - one.work == pytest.approx(3 * LONGER * step + 2 * 3 * READING_PIXELS)
    often = job(operation=drawn(prompt="[a|b][c|d|e][f|g|h|i|j][k:l:5]" * 40, steps=30)).work
    assert often < one.work * 2


@pytest.mark.parametrize("kept", [False, True])
def test_what_a_model_sees_beside_its_picture_is_work(kept: bool) -> None:
    references = tuple(Reference(image=ImageRef.of(Image.new("RGB", size), "image")) for size in ((512, 512), (16, 16)))
    sees = SeenImages(changed=None, least=1024, most=512 * 256, kept=kept)
    image = ImageRef.of(Image.new("RGB", (512, 512)), "image")
    alone, one, both = (
        job(operation=Edit(**{**COMMON, "steps": 4}, image=image, references=references[:count])) for count in range(3)
    )
    able = ModelAbilities(modes=("edit",), size_multiple=8, native_size=512)
    unseen, *others = (each.for_model(replace(able, seen=sees)).work / len(each.seeds) for each in (alone, one, both))
    looks = 1 if kept else 4
    assert unseen - alone.for_model(able).work / len(alone.seeds) == looks * 512 * 512
    encoded = looks + ENCODING_STEPS
    assert [other - unseen for other in others] == [encoded * 512 * 256, encoded * (512 * 256 + 1024)]


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("width", {"width": 63}),
        ("width", {"width": 2049}),
        ("height", {"height": -5}),
        ("steps", {"steps": 501}),
        ("guidance", {"guidance": float("nan")}),
        ("guidance", {"guidance": 101.0}),
        ("eta", {"eta": -0.1}),
        ("scheduler", {"scheduler": "PLMS"}),
        ("prompt", {"prompt": "x" * 4001}),
        ("negative_prompt", {"negative_prompt": "x" * 4001}),
        ("clip_skip", {"clip_skip": 0}),
        ("variation_seed", {"variation_seed": -1}),
        ("variation_strength", {"variation_strength": 1.1}),
        ("image", {"image": image_of(Image.new("RGB", (2049, 1))), "plan": "whole"}),
        ("image", {"image": image_of(Image.new("RGB", (1, 60000))), "plan": "whole"}),
        ("strength", {"image": IMAGE, "strength": 1.01}),
        ("strength", {"image": IMAGE, "strength": -0.04}),
        ("strength", {"image": IMAGE, "strength": float("nan")}),
    ],
)
def test_what_lies_beyond_is_refused_by_name(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidFields, match=f"^{field} ") as refusal:
        redrawn(**changes) if "image" in changes else drawn(**changes)
    assert [fault.field for fault in refusal.value.faults] == [field]
    assert refusal.value.status == 422


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("region", "1,2,3", "is '1,2,3'; it must be x,y,width,height in whole pixels, such as 0,0,512,512"),
        ("region", "0,0,-8,8", "is '0,0,-8,8'; it must be"),
        ("region", "500,0,10,10", "is 500,0,10,10, which has no pixel of the image's 10×20"),
        ("region", "0,0,0,10", "is 0,0,0,10, which has no pixel"),
        ("extend", "much", "is 'much'; it must be left,top,right,bottom in whole pixels, such as 0,0,256,0"),
        ("extend", "99990,0,99990,1000000", "makes 199990×1000020; at most 200,000,000 are allowed"),
        ("context", -1, "is -1; it must be from 0 to 4096"),
        ("fill", "lava", "is 'lava'; valid are original, blur, neutral, noise, border"),
    ],
)
def test_a_faulty_field_of_a_plan_is_refused_with_what_is_valid(field: str, value: Any, words: str) -> None:
    mask = ImageRef(content=png(Image.new("L", (10, 20), 255)), kind="mask", field="mask", max_pixels=1000)
    with pytest.raises(InvalidFields, match=f"^{re.escape(f'{field} {words}')}"):
        Inpaint(**{**COMMON, "image": IMAGE, "mask": mask, "strength": 0.8, field: value})


def test_what_is_drawn_at_once_is_limited_with_what_extend_adds() -> None:
    grown = {**COMMON, "image": IMAGE, "strength": 0.8, "extend": "0,0,2039,0"}
    with pytest.raises(InvalidFields, match=r"^extend makes 2049×20; at most 2048×2048 are allowed at once$"):
        Inpaint(**grown, inpaint_area="whole")
    # The image alone is too large, and so is what neither limit allows: one of them is named.
    with pytest.raises(InvalidFields, match=r"^image is 10×20 pixels; at most 9×2048 are allowed at once$"):
        Inpaint(**grown | {"limits": Limits(max_width=9)}, inpaint_area="whole")
    with pytest.raises(InvalidFields, match=r"^extend makes 1000000009×20; at most 200,000,000 are allowed$"):
        Inpaint(**grown | {"extend": "0,0,999999999,0"}, inpaint_area="whole")
    assert Inpaint(**{**grown, "extend": "0,0,2038,0"}, inpaint_area="whole").size == (2048, 20)
    assert Inpaint(**grown).size == (2049, 20)


def test_the_mask_of_a_waiting_job_counts_as_memory_where_it_is_another_than_the_one_that_came() -> None:
    mask = ImageRef(content=png(Image.new("L", (10, 20), 255)), kind="mask", field="mask", max_pixels=1000)
    common = {**COMMON, "image": IMAGE, "strength": 0.8}
    as_it_came, grown = Inpaint(**common, mask=mask), Inpaint(**common, extend="0,0,90,0")
    files = len(IMAGE.content) + 3 * 200
    for operation, held in ((as_it_came, len(mask.content) + 200), (grown, 100 * 20)):
        spec = job(operation=operation)
        assert spec.plan
        assert spec.memory == files + held
        assert job(operation=drawn()).memory == 0


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("seed", {"seeds": (-1,)}),
        ("seed + num_outputs - 1", {"seeds": (MAX_SEED, MAX_SEED + 1)}),
        ("variation_seed", {"variation_seeds": (-1, 0)}),
        ("num_outputs", {"seeds": ()}),
        ("num_outputs", {"seeds": tuple(range(17))}),
    ],
)
def test_seeds_beyond_are_refused_by_name(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidFields) as refusal:
        job(**changes)
    assert [fault.field for fault in refusal.value.faults] == [field]


def test_every_fault_is_named_at_once() -> None:
    fields = {"prompt": "a dog", "steps": 0, "guidance": 101.0, "width": 1, "height": 64}
    with pytest.raises(InvalidFields) as refusal:
        JobSpec.choose(TextToImage, fields, Outputs(seed=MAX_SEED, num_outputs=2), model=None, limits=LIMITS)
    names = [fault.field for fault in refusal.value.faults]
    assert names == ["steps", "guidance", "width", "seed + num_outputs - 1"]


def chosen(seed: int | None, num_outputs: int, **fields: Any) -> tuple[PictureSeeds, ...]:
    fields = {"prompt": "a dog", "steps": 1, "guidance": 1.0, "width": 64, "height": 64, **fields}
    outputs = Outputs(seed=seed, num_outputs=num_outputs)
    return JobSpec.choose(TextToImage, fields, outputs, model=None, limits=LIMITS).pictures


def test_given_seeds_count_up() -> None:
    assert chosen(5, 3) == tuple(PictureSeeds(seed=seed) for seed in (5, 6, 7))
    # A variation seed alone does nothing.
    assert chosen(5, 1, variation_seed=9) == (PictureSeeds(seed=5),)


def test_seeds_that_are_not_given_are_chosen_for_each_picture() -> None:
    seeds = [picture.seed for picture in chosen(None, 8)]
    assert len(set(seeds)) == 8
    assert 0 not in seeds


def test_variations_share_their_seed() -> None:
    expected = tuple(PictureSeeds(seed=5, variation=variation) for variation in (9, 10))
    assert chosen(5, 2, variation_seed=9, variation_strength=0.1) == expected
    free = chosen(None, 4, variation_strength=0.1)
    assert len({picture.seed for picture in free}) == 1
    assert len({picture.variation for picture in free}) == 4
