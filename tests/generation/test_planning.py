"""Properties of every plan: what is masked is drawn, at sizes that a model draws well, and the same each time."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from requested import LIMITS, request

from sd_api.engine.passes import Unit, drawn, operation_of
from sd_api.errors import InvalidFields
from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.fields import derived
from sd_api.generation.images import ImageRef
from sd_api.generation.operation import Operation
from sd_api.generation.operations import Edit, ImageToImage, Inpaint, TextToImage
from sd_api.generation.plan import Box, Plan, area, intersection, size_of
from sd_api.generation.planning import plan
from sd_api.generation.working_sizes import OVERLAP, tile_size, tiles_of, working_sizes
from sd_api.settings import Limits

MODEL = ModelAbilities(("masking",), size_multiple=8, native_size=128, capabilities=("tiles",))
UNTILED = ModelAbilities(("masking",), size_multiple=8, native_size=128)
SIZES = set(working_sizes(128, 8))
DOT = Image.new("RGB", (1, 1))


def edit(size: tuple[int, int], *masked: Box, **fields: Any) -> Inpaint:
    mask = Image.new("L", size)
    for box in masked:
        mask.paste(255, box)
    operation = request(image=DOT, mask=DOT.convert("L"), strength=1.0, steps=10).operation
    images = {"image": ImageRef.of(Image.new("RGB", size), "image"), "mask": ImageRef.of(mask, "mask")}
    return derived(operation, Inpaint, **images, **fields)


def planned(size: tuple[int, int], *masked: Box, **fields: Any) -> Plan:
    return plan(edit(size, *masked, **fields), MODEL)


def contains(outer: Box, inner: Box) -> bool:
    return intersection(outer, inner) == inner


@st.composite
def edits(draw: st.DrawFn) -> Inpaint:
    size = draw(st.tuples(st.integers(1, 700), st.integers(1, 700)))
    boxes = []
    for _ in range(draw(st.integers(1, 5))):
        left, upper = draw(st.integers(0, size[0] - 1)), draw(st.integers(0, size[1] - 1))
        boxes.append((left, upper, draw(st.integers(left + 1, size[0])), draw(st.integers(upper + 1, size[1]))))
    return edit(
        size,
        *boxes,
        inpaint_area=draw(st.sampled_from(["auto", "masked"])),
        context=draw(st.none() | st.integers(0, 100)),
        strength=draw(st.sampled_from([0.2, 1.0])),
        mask_invert=draw(st.booleans()),
        extend=draw(st.none() | st.just("0,5,70,0")),
    )


@settings(deadline=None, max_examples=150)
@given(edits(), st.sampled_from([MODEL, UNTILED]))
def test_what_is_masked_is_drawn_once_within_the_canvas_at_one_of_few_sizes(
    asked: Inpaint, model: ModelAbilities
) -> None:
    made = plan(asked, model)
    canvas, covered = (0, 0, *made.size), np.zeros(made.size[::-1], int)
    assert made.size == asked.part((0, 0, *made.size)).size == asked.replaced.size
    for region in made.regions:
        left, upper, right, lower = region.edit
        covered[upper:lower, left:right] += 1
        for one in region.passes:
            assert contains(canvas, one.box)
            assert size_of(region.edit) == (0, 0) or contains(one.box, region.edit)
            assert all(0 < inner <= side and side % 8 == 0 for inner, side in zip(one.inner, one.size, strict=True))
            assert made.whole or one.tiles or one.size in SIZES
            assert all(contains((0, 0, *one.size), tile) for tile in one.tiles)
            assert len({size_of(tile) for tile in one.tiles}) <= 1
    assert covered.max() <= 1
    assert (covered[np.asarray(asked.replaced) > 0] == 1).all()
    # Another process plans the same.
    again = derived(asked, Inpaint)
    assert plan(again, model) == made
    assert plan(again, model).text() == made.text()


def test_a_canvas_is_made_at_once_where_that_is_as_good() -> None:
    # A small canvas, and one of which a part needs all of it.
    assert planned((64, 64), (10, 10, 20, 20)).whole
    for size in ((128, 128), (150, 140)):
        assert planned(size, (10, 10, 125, 125)).whole
        assert not planned(size, (10, 10, 40, 40)).whole
    assert not planned((500, 500), (10, 10, 20, 20)).whole
    assert planned((500, 500), (10, 10, 20, 20), inpaint_area="whole").whole


@pytest.mark.parametrize("corner", [(0, 0), (460, 0), (0, 460), (460, 460)])
@pytest.mark.parametrize("context", [0, 16, 50])
def test_the_context_is_seen_as_far_as_the_canvas_reaches(corner: tuple[int, int], context: int) -> None:
    left, upper = corner
    (region,) = planned((500, 500), (left, upper, left + 40, upper + 40), context=context).regions
    seen = (
        max(left - context, 0),
        max(upper - context, 0),
        min(left + 40 + context, 500),
        min(upper + 40 + context, 500),
    )
    assert region.edit == (left, upper, left + 40, upper + 40)
    assert contains(region.passes[0].box, seen)


def test_a_context_below_1_is_a_share_of_the_part() -> None:
    for context, pixels in ((0.5, 30), (0.999, 60), (1, 1), (12.4, 12)):
        by_context = planned((900, 900), (400, 400, 460, 440), context=context)
        assert by_context == planned((900, 900), (400, 400, 460, 440), context=pixels)


def test_without_a_mask_only_what_is_added_is_drawn() -> None:
    grown = derived(edit((400, 300)), Inpaint, mask=None, extend="0,0,50,0")
    assert [region.edit for region in plan(grown, MODEL).regions] == [(400, 0, 450, 300)]
    values: dict[str, Any] = {"prompt": "", "steps": 1, "guidance": 1.0, "strength": 1.0}
    with pytest.raises(InvalidFields, match="mask is missing"):
        Inpaint(**values, image=ImageRef.of(DOT, "image"), limits=LIMITS)


def test_a_small_part_is_drawn_larger_and_a_large_one_refined_in_tiles() -> None:
    (small,) = planned((1000, 1000), (500, 500, 530, 530)).regions
    (one,) = small.passes
    assert (one.size, one.inner) == ((128, 128), (128, 128))
    assert size_of(one.box) == (94, 94)
    (large,) = planned((1000, 1000), (200, 200, 800, 800)).regions
    first, second = large.passes
    assert first.size == (128, 128)
    assert (first.strength, second.strength) == (None, 0.35)
    assert second.inner == size_of(second.box) == (664, 664)
    assert (second.forward, len(second.tiles)) == ((128, 128), 36)
    # What changes little is not drawn anew at another scale.
    (faint,) = planned((1000, 1000), (200, 200, 800, 800), strength=0.3).regions
    assert [each.strength for each in faint.passes] == [0.3]
    # How much the tiles refine is for the client to say.
    (less,) = planned((1000, 1000), (200, 200, 800, 800), refine=0.2).regions
    assert less.passes == (first, replace(second, strength=0.2))
    (enlarged,) = planned((1000, 1000), (200, 200, 800, 800), refine=0.0).regions
    assert enlarged.passes == (first,)


def test_parts_are_joined_where_that_is_cheaper() -> None:
    near = planned((1000, 1000), (100, 100, 130, 130), (140, 100, 170, 130))
    assert [region.edit for region in near.regions] == [(100, 100, 170, 130)]
    far = planned((1000, 1000), (100, 100, 130, 130), (600, 600, 630, 630))
    assert [region.edit for region in far.regions] == [(100, 100, 130, 130), (600, 600, 630, 630)]
    # A frame with something inside has one box with it.
    frame = ((0, 0, 400, 10), (0, 390, 400, 400), (0, 0, 10, 400), (390, 0, 400, 400), (100, 100, 120, 120))
    assert [region.edit for region in planned((400, 400), *frame).regions] == [(0, 0, 400, 400)]
    # The dust of a scan.
    dots = [(x, y, x + 5, y + 5) for x in range(0, 1000, 50) for y in range(0, 1000, 50)]
    assert len(planned((1000, 1000), *dots).regions) < len(dots) / 2


def test_a_region_that_the_editor_knows_is_what_the_model_sees() -> None:
    made = planned((1000, 1000), (300, 300, 350, 350), (900, 900, 950, 950), region="280,260,128,128")
    (region,) = made.regions
    assert region.edit == (300, 300, 350, 350)
    assert region.passes[0].box == (280, 260, 408, 388)


def test_a_region_that_reaches_far_beyond_the_canvas_ends_at_its_edge() -> None:
    far = edit((300, 200), (10, 10, 40, 40), (250, 150, 300, 200), region="240,20,999999999,999999999")
    assert far.replaced.getbbox() == (250, 150, 300, 200)
    assert plan(far, MODEL) == planned((300, 200), (250, 150, 300, 200), region="240,20,60,180")
    everywhere = edit((300, 200), (10, 10, 40, 40), region="0,0,100000,100000")
    assert everywhere.replaced.getbbox() == (10, 10, 40, 40)


def test_what_is_added_to_the_canvas_is_drawn() -> None:
    made = planned((300, 300), extend="0,0,0,100")
    assert made.size == (300, 400)
    assert [region.edit for region in made.regions] == [(0, 300, 300, 400)]


@pytest.mark.parametrize("size", [(1000, 1000), (40, 40)])
@pytest.mark.parametrize(
    "fields", [{}, {"inpaint_area": "whole"}, {"region": "0,0,9,9"}, {"mask_invert": True}], ids=str
)
def test_where_nothing_is_masked_hardly_anything_is_drawn(size: tuple[int, int], fields: dict[str, Any]) -> None:
    full = (0, 0, *size)
    masked = {"mask_invert": full, "region": (20, 20, 40, 40)}
    made = planned(size, *[masked[name] for name in fields if name in masked], **fields)
    (region,) = made.regions
    assert area(region.edit[2:]) == 0
    assert region.passes[0].size == (64, 64)
    assert list(made.warnings()) == ["Nothing is masked, so nothing of the image is changed."]
    assert not list(planned(size, full).warnings())


def test_pictures_beyond_the_models_reach_are_refined_in_tiles_unless_asked_otherwise() -> None:
    drawn = request(size=(512, 256), steps=20).operation
    redrawn = request(image=Image.new("RGB", (512, 256)), strength=0.8, steps=20).operation
    kinds: list[tuple[Operation, type[Operation]]] = [(drawn, TextToImage), (redrawn, ImageToImage)]
    for operation, kind in kinds:
        first, second = plan(operation, MODEL).regions[0].passes
        assert area(first.size) <= 1.1 * 128**2
        assert second.forward == (192, 128)
        assert plan(derived(operation, kind, plan="whole"), MODEL).whole
        assert plan(operation, ModelAbilities((), 8, 512, ("tiles",))).whole


@given(st.integers(1, 60), st.integers(1, 60))
def test_tiles_cover_everything_and_overlap(columns: int, rows: int) -> None:
    size = columns * 8, rows * 8
    tiles = list(tiles_of(size, (64, 64), 8))
    covered = np.zeros(size[::-1], bool)
    for left, upper, right, lower in tiles:
        covered[upper:lower, left:right] = True
    assert covered.all()
    lefts = sorted({tile[0] for tile in tiles})
    # Starts lie on cells, so an overlap may lack one.
    assert all(right - left <= 64 * (1 - OVERLAP) + 8 for left, right in pairwise(lefts))
    masked = Image.new("L", size)
    masked.paste(255, (0, 0, 1, 1))
    assert list(tiles_of(size, (64, 64), 8, masked)) == tiles[:1]


def test_tiles_are_as_long_as_covers_a_size_with_the_fewest_pixels() -> None:
    # Two of 640 pixels where three of 512 would be needed; two of 512; one alone; and one of each side is enough.
    assert tile_size((1160, 960), 512, 8) == (640, 512)
    assert tile_size((512, 760), 512, 8) == (512, 768)
    assert tile_size((300, 100), 512, 8) == (512, 512)


def test_an_edit_beyond_the_models_reach_is_drawn_at_its_own_size_and_enlarged() -> None:
    limits = Limits(max_width=64, max_height=64)
    asked = [
        Edit(prompt="snow", steps=1, guidance=1.0, image=ImageRef.of(Image.new("RGB", size), "image"), limits=limits)
        for size in ((130, 100), (1000, 750))
    ]
    within, beyond = (plan(operation, MODEL) for operation in asked)
    assert within.whole
    (one,) = beyond.regions[0].passes
    assert (one.box, one.tiles) == ((0, 0, 1000, 750), ())
    assert area(one.size) <= 128**2 * 1.1
    assert one.inner[0] / one.inner[1] == pytest.approx(4 / 3, rel=0.02)
    (warning,) = beyond.warnings()
    assert warning.startswith("The picture of 1000×750 is drawn with")
    seen = operation_of(asked[1], beyond, Unit(picture=0, region=0), 7)
    assert isinstance(seen, Edit)
    assert seen.size == one.inner
    assert drawn(Image.new("RGB", one.size), one).size == (1000, 750)


def test_the_summary_counts_regions_and_tiles_by_their_sizes() -> None:
    assert planned((128, 96), (0, 0, 90, 90)).summary() == "128×96"
    small = planned((1000, 400), (0, 0, 40, 40), (900, 300, 960, 360))
    assert small.summary() == "2 regions of 128×128"
    large = planned((1000, 1000), (0, 0, 40, 40), (300, 300, 900, 900))
    tiles = sum(len(each.tiles) for region in large.regions for each in region.passes)
    assert large.summary() == f"2 regions of 128×128, then {tiles} tiles of 128×128"
    untiled = plan(edit((1000, 1000), (300, 300, 900, 900)), UNTILED)
    (warning,) = untiled.warnings()
    assert "enlarged, without refinement" in warning
    assert list(large.warnings()) == []
