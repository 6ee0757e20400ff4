"""Estimates from synthetic jobs whose fixed seconds and rate are known."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import photograph
from requested import request

from sd_api.generation.engine import Progress
from sd_api.jobs.work_rates import HISTORY, UNLIKE, JobKind, Timing, WorkRates

KIND = JobKind(None, "txt2img", "cpu")
OVERHEAD, RATE = 2.0, 5e-7
SMALL, USUAL, LARGE = 200_000.0, 6_000_000.0, 24_000_000.0


def learned(*timings: tuple[float, float], kind: JobKind = KIND) -> WorkRates:
    rates = WorkRates()
    for timing in timings:
        rates.learn(kind, Timing(*timing))
    return rates


def ranged(rates: WorkRates) -> tuple[float, float, float]:
    """The estimate of a usual job, and the ends of its range."""
    found = rates.duration(KIND, USUAL)
    assert found is not None
    return found.expected, found.least, found.most


def true_seconds(work: float) -> float:
    return OVERHEAD + RATE * work


@pytest.mark.parametrize("seed", range(5))
def test_the_fixed_seconds_and_the_rate_are_found_in_spite_of_outliers(seed: int) -> None:
    chance = random.Random(seed)
    works = [chance.choice([SMALL, USUAL, LARGE]) * chance.uniform(0.9, 1.1) for _ in range(HISTORY)]
    timings = [(work, true_seconds(work) * chance.uniform(0.95, 1.05)) for work in works]
    for odd, factor in zip(chance.sample(range(HISTORY), 3), (30.0, 100.0, 0.01), strict=True):
        timings[odd] = works[odd], timings[odd][1] * factor
    rates = learned(*timings)
    for work in (SMALL, USUAL, LARGE, 2 * LARGE):
        assert rates.seconds(KIND, work) == pytest.approx(true_seconds(work), rel=0.25)


@pytest.mark.parametrize("works", [(SMALL, USUAL), (LARGE, SMALL), (SMALL, USUAL, LARGE)])
def test_jobs_of_two_sizes_are_enough(works: tuple[float, ...]) -> None:
    rates = learned(*((work, true_seconds(work)) for work in works))
    assert rates.seconds(KIND, 2 * LARGE) == pytest.approx(true_seconds(2 * LARGE))


@pytest.mark.parametrize("seconds", [(3.0,), (3.0, 2.9, 60.0), (0.1, 3.0, 3.0, 3.0, 400.0)])
def test_one_size_is_estimated_by_its_median(seconds: tuple[float, ...]) -> None:
    rates = learned(*((USUAL, each) for each in seconds))
    assert rates.seconds(KIND, USUAL) == pytest.approx(3.0)
    smaller, larger = rates.seconds(KIND, SMALL), rates.seconds(KIND, LARGE)
    assert smaller is not None
    assert larger is not None
    assert 3.0 * SMALL / USUAL < smaller < 3.0 < larger < 3.0 * LARGE / USUAL


def test_a_model_without_jobs_is_estimated_by_the_most_similar_other_in_a_wide_range() -> None:
    rates = learned((USUAL, 3.0), (2 * LARGE, 20.0), kind=JobKind("small", "txt2img", "cpu"))
    rates.learn(JobKind("large", "txt2img", "cpu"), Timing(USUAL, 90.0))
    kind = JobKind("new", "txt2img", "cpu")
    flops: dict[str | None, float] = {"small": 100.0, "large": 4000.0, "new": 200.0, "unmeasured": 200.0}
    found, other = rates.duration(kind, USUAL, 5.0, flops), rates.duration(JobKind("small", "txt2img", "cpu"), USUAL)
    assert found is not None
    assert other is not None
    assert found.expected == pytest.approx(2 * other.expected + 5.0)
    assert (found.least, found.most) == (2 * other.least / UNLIKE + 5.0, 2 * other.most * UNLIKE + 5.0)
    assert (found.of_others, other.of_others) == (True, False)
    # Nothing is known of its arithmetic, or of that of those that were measured.
    assert all(rates.duration(kind, USUAL, 0.0, {name: 100.0}) is None for name in ("small", "new"))


def test_after_one_tiny_job_others_are_not_announced_with_minutes() -> None:
    tiny = request(steps=20, image=photograph(16, 16), strength=0.7)
    usual = request(steps=20, size=(512, 512))
    # It was the first, and took as long as the others will.
    rates = learned((tiny.work, 3.0), kind=JobKind(None, "img2img", "cpu"))
    expected = rates.seconds(KIND, usual.work)
    assert expected is not None
    assert 3.0 < expected < 10.0
    rates.learn(KIND, Timing(usual.work, 3.1))
    assert rates.seconds(KIND, usual.work) == pytest.approx(3.1)


def test_a_first_job_that_took_long_makes_others_no_longer() -> None:
    rates = learned((SMALL, 20.0), (USUAL, 3.0), (USUAL, 3.0))
    assert rates.seconds(KIND, USUAL) == pytest.approx(3.0)


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_a_change_of_pace_counts_as_soon_as_three_jobs_show_it(factor: float) -> None:
    before = [(work, true_seconds(work)) for work in (SMALL, USUAL, LARGE) * 3]
    changed = [(work, factor * true_seconds(work)) for work in (USUAL, LARGE, SMALL)]
    assert learned(*before, *changed[:2]).seconds(KIND, USUAL) == pytest.approx(true_seconds(USUAL))
    assert learned(*before, *changed).seconds(KIND, USUAL) == pytest.approx(factor * true_seconds(USUAL))


# Who knew the fixed seconds and the rate would be right for 98.5 and 90.5 of a hundred with the last two noises.
@pytest.mark.parametrize(("noise", "least"), [(0.05, 0.98), (0.08, 0.95), (0.12, 0.86)])
def test_nine_of_ten_jobs_of_mixed_sizes_take_about_as_long_as_estimated(noise: float, least: float) -> None:
    chance, close = random.Random(1), []
    for _ in range(10):
        rates = WorkRates()
        for number in range(25):
            work = chance.choice([SMALL, USUAL, LARGE]) * chance.uniform(0.5, 1.5)
            seconds = true_seconds(work) * chance.lognormvariate(0, noise)
            if number >= 5:
                expected = rates.seconds(KIND, work)
                assert expected is not None
                close.append(abs(expected / seconds - 1) <= 0.2)
            rates.learn(KIND, Timing(work, seconds))
    assert sum(close) / len(close) >= least


@given(
    jobs=st.lists(st.tuples(st.floats(1e4, 1e9), st.floats(0.01, 1e4)), min_size=1, max_size=HISTORY),
    work=st.floats(1e4, 1e9),
    factor=st.floats(0.01, 100),
)
@settings(max_examples=40, deadline=None)
def test_estimates_are_within_their_range_grow_with_the_work_and_have_no_unit(
    jobs: list[tuple[float, float]], work: float, factor: float
) -> None:
    rates = learned(*jobs)
    found, more = rates.duration(KIND, work), rates.seconds(KIND, 2 * work)
    assert found is not None
    assert more is not None
    assert 0 < found.least <= found.expected <= found.most < math.inf
    assert more >= found.expected
    # A machine that is slower in everything takes longer by as much.
    slower = learned(*((each, factor * seconds) for each, seconds in jobs)).seconds(KIND, work)
    assert slower == pytest.approx(factor * found.expected, rel=1e-3)


def test_old_jobs_are_forgotten() -> None:
    rates = learned(*[(USUAL, 100.0)] * 50, *[(USUAL, 3.0)] * (HISTORY // 2 + 1))
    assert rates.seconds(KIND, USUAL) == pytest.approx(3.0)


def test_a_job_without_work_for_the_engine_says_nothing() -> None:
    assert learned((SMALL, 0.0)).seconds(KIND, SMALL) is None


def test_the_closest_kind_counts() -> None:
    rates = learned((USUAL, 8.0))
    redrawing, on_card = KIND._replace(operation="img2img"), KIND._replace(device="cuda:0")
    # Until there are jobs of a kind, others of its model say how long it may take.
    assert rates.seconds(redrawing, USUAL) == rates.seconds(on_card, USUAL) == pytest.approx(8.0)
    rates.learn(on_card, Timing(USUAL, 1.0))
    assert rates.seconds(on_card, USUAL) == pytest.approx(1.0)
    assert rates.seconds(KIND, USUAL) == pytest.approx(8.0)
    assert rates.seconds(KIND._replace(device=None), USUAL) == pytest.approx(4.5)
    assert rates.seconds(KIND._replace(model="other"), USUAL) is None


def test_what_is_left_comes_more_and_more_from_the_jobs_own_steps() -> None:
    rates = learned((USUAL, 10.0))
    assert rates.seconds_left(KIND, USUAL, None, 4.0) == pytest.approx(6.0)
    assert rates.seconds_left(KIND, USUAL, None, 40.0) == 0
    # A slow first step of 20 says little about the others.
    assert rates.seconds_left(KIND, USUAL, Progress("denoising", 1, 20), 9.0) == pytest.approx(9.5)
    assert rates.seconds_left(KIND, USUAL, Progress("denoising", 10, 20), 30.0) == pytest.approx(15.0)
    assert rates.seconds_left(KIND, USUAL, Progress("decoding", 20, 20), 60.0) == 0
    assert WorkRates().seconds_left(KIND, USUAL, Progress("denoising", 5, 20), 10.0) == pytest.approx(30.0)
    assert WorkRates().seconds_left(KIND, USUAL, None, 10.0) is None


def test_the_range_holds_what_the_jobs_were_and_is_wide_while_there_are_few() -> None:
    assert WorkRates().duration(KIND, USUAL) is None
    # Of one job, from half as long to twice as long.
    assert ranged(learned((USUAL, 6.0))) == pytest.approx((6.0, 3.0, 12.0))
    assert ranged(learned(*[(USUAL, 6.0)] * 5)) == pytest.approx((6.0, 5.0, 7.2))
    # Odd ones do not count; of the others, some take half as long again.
    busy = ranged(learned(*[(USUAL, 9.0)] * 4, (USUAL, 600.0), *[(USUAL, 6.0)] * 10))
    assert busy == pytest.approx((6.0, 6.0 / (1 + 1 / 15), 9.0))
    # After a change of pace, both the usual and the present one.
    slower = ranged(learned(*[(USUAL, 6.0)] * 10, *[(USUAL, 9.0)] * 3))
    assert slower == pytest.approx((9.0, 6.0, 9.0 * (1 + 1 / 13)))


# Seconds of a processor for jobs with the built-in model, without others beside them.
MEASURED = (
    ((512, 512), 10, 1.41),
    ((768, 768), 10, 2.71),
    ((1024, 1024), 10, 8.38),
    ((1536, 1024), 24, 17.04),
    ((768, 768), 24, 4.21),
    ((1536, 1024), 10, 11.08),
    ((1024, 1024), 24, 13.11),
)


def test_after_five_jobs_others_of_any_size_take_about_as_long_as_estimated() -> None:
    rates = WorkRates()
    for number, (size, steps, seconds) in enumerate(MEASURED):
        spec = request(steps=steps, size=size)
        if number >= 5:
            assert rates.seconds(KIND, spec.work, spec.finishing) == pytest.approx(seconds, rel=0.2)
        rates.learn(KIND, Timing.of(spec, seconds))
