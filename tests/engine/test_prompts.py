"""What the UNet families make of the prompt language equals diffusers' own pipelines with embeddings by hand."""

from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Any

import pytest
import torch
from PIL import Image
from requested import request
from running import generate
from tiny_families import parts_of, sd, sdxl

from sd_api.engine.diffusion import denoise, step
from sd_api.errors import OutOfLimits
from sd_api.generation.operations import TextToImage
from sd_api.generation.spec import PictureSeeds
from sd_api.models.components import Parts
from sd_api.models.families import unet_words
from sd_api.models.families.registry import family_of
from sd_api.models.schedulers import make_scheduler
from sd_api.settings import Limits, Settings
from sd_api.wiring import build_engine

LIMITS = Limits()
STEPS, GUIDANCE, SEED = 4, 6.5, 5
MODELS = {"sd": sd, "sdxl": sdxl}
# A token each.
LONG = " ".join("x" * 80)

Embedded = tuple[torch.Tensor, torch.Tensor | None]


@cache
def model(name: str) -> Parts:
    return parts_of(MODELS[name]())


def asked(prompt: str, **changes: Any) -> TextToImage:
    fields: dict[str, Any] = {"negative_prompt": "blue", "steps": STEPS, "guidance": GUIDANCE, "scheduler": "euler"}
    return TextToImage(prompt=prompt, width=64, height=64, limits=LIMITS, **fields | changes)


def begun(name: str, operation: TextToImage) -> Any:
    parts = model(name)
    family = family_of(parts.pipeline)
    with torch.inference_mode():
        conditioning = family.encode(parts, operation)
        return family.start(parts, operation, PictureSeeds(seed=SEED), (64, 64), conditioning)


def ours(name: str, prompt: str, **changes: Any) -> torch.Tensor:
    parts = model(name)
    latents = denoise(family_of(parts.pipeline), parts, begun(name, asked(prompt, **changes))).latents
    assert latents is not None
    return latents


@torch.inference_mode()
def embedded(name: str, *texts: str, weights: dict[int, float] | None = None) -> Embedded:
    """The embeddings of chunks, each a text of its own, by the pipeline's encoders; tokens are counted from 1."""
    pipeline = model(name).pipeline
    encoders = [pipeline.text_encoder, *([pipeline.text_encoder_2] if name == "sdxl" else [])]
    chunks, pooled = [], None
    for text in texts:
        ids = pipeline.tokenizer(
            text, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids
        layers = []
        for encoder in encoders:
            output = encoder(ids, output_hidden_states=True)
            layer = output.hidden_states[-2] if name == "sdxl" else output.last_hidden_state
            changed = layer.clone()
            for token, weight in (weights or {}).items():
                changed[:, token] *= weight
            layers.append(changed * (layer.mean() / changed.mean()) if weights else layer)
        chunks.append(torch.cat(layers, -1))
        if pooled is None and name == "sdxl":
            pooled = output.text_embeds
    return torch.cat(chunks, 1), pooled


def by_hand(name: str, prompts: Callable[[int], Embedded], negative: Embedded) -> torch.Tensor:
    """The latents of diffusers' own pipeline, whose embeddings are those that are given for each step."""
    pipeline = model(name).pipeline
    pipeline.scheduler, own = make_scheduler("euler", pipeline.scheduler), pipeline.scheduler
    arguments: dict[str, Any] = {"prompt_embeds": prompts(0)[0], "negative_prompt_embeds": negative[0]}
    if name == "sdxl":
        arguments |= {"pooled_prompt_embeds": prompts(0)[1], "negative_pooled_prompt_embeds": negative[1]}

    def change(_pipeline: Any, number: int, _timestep: Any, _tensors: Any) -> dict[str, Any]:
        words, pooled = prompts(number + 1)
        changed = {"prompt_embeds": torch.cat([negative[0], words])}
        if pooled is not None and negative[1] is not None:
            changed["add_text_embeds"] = torch.cat([negative[1], pooled])
        return changed

    try:
        latents: torch.Tensor = pipeline(
            **arguments,
            width=64,
            height=64,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=torch.Generator("cpu").manual_seed(SEED),
            output_type="latent",
            callback_on_step_end=change,
            callback_on_step_end_tensor_inputs=["prompt_embeds", *(["add_text_embeds"] if name == "sdxl" else [])],
        ).images
    finally:
        pipeline.scheduler = own
    return latents


@pytest.mark.parametrize("name", MODELS)
def test_weights_multiply_and_the_mean_stays(name: str) -> None:
    words = embedded(name, "a x y", weights={2: 1.4, 3: 1 / 1.1})
    expected = by_hand(name, lambda _: words, embedded(name, "blue"))
    latents = ours(name, "a (x:1.4) [y]")
    assert (latents - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (latents - ours(name, "a x y")).abs().max() > 0.01 * expected.abs().max()
    assert torch.equal(ours(name, "a (x:1.4) [y]", prompt_syntax="plain"), ours(name, r"a \(x:1.4\) \[y\]"))


@pytest.mark.parametrize("name", MODELS)
def test_what_is_longer_goes_on_in_further_chunks(name: str) -> None:
    """Chunks of 75 tokens; the negative prompt has empty ones behind it."""
    first, second = " ".join("x" * 75), " ".join("x" * 7) + " cat"
    words = embedded(name, first, second, "y")
    expected = by_hand(name, lambda _: words, embedded(name, "blue", "", ""))
    assert torch.equal(ours(name, f"{first} {second} BREAK y"), expected)


@pytest.mark.parametrize("name", MODELS)
def test_schedules_and_alternation_act_in_their_steps(name: str) -> None:
    texts = ["red dog", "blue cat", "blue dog", "blue cat"]
    words = {text: embedded(name, text) for text in texts}
    expected = by_hand(name, lambda number: words[texts[min(number, 3)]], embedded(name, "blue"))
    assert torch.equal(ours(name, "[red:blue:0.25] [dog|cat]"), expected)


def test_the_steps_of_a_schedule_are_those_that_were_asked_for() -> None:
    """Heun makes two of each but the last."""
    row = begun("sd", asked("[one:two:2] dog", scheduler="heun", steps=4))
    one, two = (begun("sd", asked(f"{word} dog")).conditioning.moments[0] for word in ("one", "two"))
    acting = [row.conditioning.at(number, row.steps) for number in range(row.steps)]
    assert [[moment.prompts[0] is each.prompts[0] for each in (one, two)].index(True) for moment in acting] == [
        0
    ] * 4 + [1] * 3


@torch.inference_mode()
def test_joined_prompts_add_what_they_change() -> None:
    """Equation 11 of arXiv:2206.01714, over diffusers' scheduler and UNet."""
    parts = model("sd")
    scheduler = make_scheduler("euler", parts.pipeline.scheduler)
    scheduler.set_timesteps(STEPS)
    dog, cat, negative = (embedded("sd", text)[0] for text in ("a dog", "a cat", "blue"))
    latents = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(SEED)) * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(latents, timestep)
        without, with_dog, with_cat = (
            parts.pipeline.unet(scaled, timestep, words).sample for words in (negative, dog, cat)
        )
        prediction = without + GUIDANCE * (0.75 * (with_dog - without) - 0.5 * (with_cat - without))
        latents = scheduler.step(prediction, timestep, latents).prev_sample
    assert (ours("sd", "a dog:0.75 AND a cat:-0.5") - latents).abs().max() <= 1e-5 * latents.abs().max()


def test_joined_prompts_need_guidance() -> None:
    with pytest.raises(OutOfLimits, match="prompt joins prompts with AND"):
        begun("sd", asked("a dog AND a cat", guidance=1.0))


@pytest.mark.parametrize(
    "prompt",
    [
        # One long text, and many short ones that would become as long.
        "[" + "BREAK " * 60 + "|" + "|".join(f"x{number}" for number in range(20)) + "]",
        "BREAK " * 300,
        "[a|b|c|d|e][f|g|h|i|j|k|l][x|y|z][v|w]" + "BREAK " * 5,
    ],
)
def test_prompts_that_cost_more_than_the_picture_are_refused_before_they_are_read(
    prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unet_words, "read_chunk", lambda *_: pytest.fail("nothing is read"))
    with pytest.raises(OutOfLimits, match="more than 512 chunks"):
        begun("sd", asked(prompt, steps=200))


@pytest.mark.parametrize("name", MODELS)
def test_rows_with_other_prompts_share_forwards_or_go_apart(name: str) -> None:
    prompts = ["a dog", "a (cat:1.3) AND a hat", "[a car|a bus]", f"a bird {LONG}"]
    rows = [begun(name, asked(prompt)) for prompt in prompts]
    assert len({row.key for row in rows[:3]}) == 1
    assert rows[3].key != rows[0].key
    parts = model(name)
    for _ in range(STEPS):
        for group in (rows[:3], rows[3:]):
            assert not step(family_of(parts.pipeline), parts, group)
    for prompt, row in zip(prompts, rows, strict=True):
        alone = ours(name, prompt)
        assert (row.latents - alone).abs().max() <= 1e-5 * alone.abs().max()


def pixels(content: bytes) -> bytes:
    return Image.open(BytesIO(content)).tobytes()


def test_each_picture_has_its_choices_and_every_word_is_read(make_settings: Callable[..., Settings]) -> None:
    engine = build_engine(make_settings())
    engine.load()
    text = "a {red|green|blue|white} dog"
    seeds = (3, 4, 5, 6)
    words = [request(text).operation.for_seed(seed).prompt for seed in seeds]
    assert len(set(words)) > 1
    together = generate(engine, request(text, seeds=seeds)).images
    alone = [
        generate(engine, request(prompt, seeds=(seed,))).images[0] for prompt, seed in zip(words, seeds, strict=True)
    ]
    assert [pixels(image.png) for image in together] == [pixels(image.png) for image in alone]
    result = generate(engine, request(f"a dog {LONG}"))
    assert result.warnings == ()
