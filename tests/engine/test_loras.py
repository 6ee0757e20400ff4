"""LoRAs act as in diffusers' own pipeline, for the rows that ask for them, and leave no trace."""

import json
import logging
import time
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from peft import LoHaConfig, LoKrConfig, PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from running import FullAt
from safetensors.torch import save_file
from tiny_families import sd, sdxl
from tiny_loras import save_kohya_lora, save_lora, save_lycoris
from tiny_model import TEXT_WIDTH

from sd_api.engine.diffusion import denoise, step
from sd_api.errors import OutOfLimits, ServerError
from sd_api.generation.operations import TextToImage
from sd_api.generation.spec import PictureSeeds
from sd_api.models.adapters.active_loras import ActiveLora
from sd_api.models.adapters.lora_files import described_loras, read_header
from sd_api.models.components import Parts
from sd_api.models.families.registry import family_of
from sd_api.models.folders import LORA, ModelFolders
from sd_api.models.placement import Placement
from sd_api.models.schedulers import make_scheduler
from sd_api.prompting.prompt import Lora
from sd_api.settings import Limits

LIMITS = Limits()
STEPS, GUIDANCE, SEED = 3, 5.0, 5


@cache
def pipelines() -> dict[str, Any]:
    made = {"sd": sd(), "sdxl": sdxl()}
    for pipeline in made.values():
        pipeline.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("loras")
    for name, encoders in (("sd", ("text_encoder",)), ("sdxl", ("text_encoder", "text_encoder_2"))):
        for number in range(2):
            save_lora(
                path / name / f"style{number}.safetensors", deepcopy(pipelines()[name]), number, ("unet", *encoders)
            )
    save_kohya_lora(path / "sd" / "kohya.safetensors", TEXT_WIDTH, 5)
    save_kohya_lora(path / "sd" / "other.safetensors", 2048, 5)
    save_lora(path / "sd" / "drawn.safetensors", deepcopy(pipelines()["sd"]), 6, ("unet",))
    (path / "sd" / "broken.safetensors").write_bytes((path / "sd" / "kohya.safetensors").read_bytes()[:-9])
    odd = save_kohya_lora(path / "sd" / "odd.safetensors", TEXT_WIDTH, 5)
    odd.write_bytes(odd.read_bytes().replace(b"lora_down", b"hada_w1_x"))
    return path


@pytest.fixture(scope="module", params=["sd", "sdxl"])
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@cache
def model(name: str, folder: Path) -> Parts:
    return Parts(pipelines()[name], torch.device("cpu"), lambda _: None, folders=ModelFolders({LORA: [folder / name]}))


def asked(prompt: str, **changes: Any) -> TextToImage:
    fields: dict[str, Any] = {"negative_prompt": "blue", "steps": STEPS, "guidance": GUIDANCE, "scheduler": "euler"}
    return TextToImage(prompt=prompt, width=64, height=64, limits=LIMITS, **fields | changes)


def begun(parts: Parts, prompt: str, **changes: Any) -> Any:
    family, operation = family_of(parts.pipeline), asked(prompt, **changes)
    with torch.inference_mode():
        return family.start(parts, operation, PictureSeeds(seed=SEED), (64, 64), family.encode(parts, operation))


def ours(parts: Parts, prompt: str, **changes: Any) -> torch.Tensor:
    latents = denoise(family_of(parts.pipeline), parts, begun(parts, prompt, **changes)).latents
    assert latents is not None
    return latents


def by_hand(
    name: str, *loras: tuple[Path, float, float], pipeline: Any = None, fused: bool = True, **arguments: Any
) -> torch.Tensor:
    """The latents of a pipeline of its own, with LoRAs as diffusers fuses them: their files and their two weights."""
    pipeline = pipeline or deepcopy(pipelines()[name])
    pipeline.scheduler = make_scheduler("euler", pipeline.scheduler)
    names = []
    for path, _, _ in loras:
        names.append(path.stem)
        pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name=path.stem)
    if names:
        encoders = ["text_encoder", *(["text_encoder_2"] if name == "sdxl" else [])]
        weights = [{"unet": weight, **dict.fromkeys(encoders, text)} for _, weight, text in loras]
        pipeline.set_adapters(names, weights)
        if fused:
            pipeline.fuse_lora(components=["unet"])
    latents: torch.Tensor = pipeline(
        "a dog",
        negative_prompt="blue",
        width=64,
        height=64,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=torch.Generator("cpu").manual_seed(SEED),
        output_type="latent",
        **arguments,
    ).images
    return latents


def test_one_and_several_act_as_in_diffusers(name: str, folder: Path) -> None:
    parts, first, second = (
        model(name, folder),
        folder / name / "style0.safetensors",
        folder / name / "style1.safetensors",
    )
    plain = by_hand(name)
    assert torch.equal(ours(parts, "a dog"), plain)
    one = by_hand(name, (first, 1.0, 1.0))
    assert torch.equal(ours(parts, "a dog <lora:style0>"), one)
    assert (one - plain).abs().max() > 0.01 * plain.abs().max()
    both = by_hand(name, (first, 0.5, 0.25), (second, -1.0, 2.0))
    assert torch.equal(ours(parts, "a dog <lora:style0:0.5:0.25>", loras='{"style1": [-1, 2]}'), both)
    assert torch.equal(ours(parts, "a dog"), plain)
    assert torch.equal(ours(parts, "a dog", loras='{"style1": 0}'), plain)


IN_UNET = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
IN_ENCODER = "text_model.encoder.layers.0.self_attn.q_proj"
# What the layers of the UNet and of the text encoder begin with, whether their paths have dots, and their factors.
LAYOUTS: dict[str, tuple[str, str | None, bool, tuple[str, str]]] = {
    "kohya": ("lora_unet_", "lora_te_", False, ("lora_down", "lora_up")),
    "kohya for two encoders": ("lora_unet_", "lora_te1_", False, ("lora_down", "lora_up")),
    "lycoris alone": ("lycoris_", None, False, ("lora_down", "lora_up")),
    "comfy": ("diffusion_model.", "text_encoders.clip_l.transformer.", True, ("lora_down", "lora_up")),
    "comfy by peft's names": ("diffusion_model.", None, True, ("lora_A", "lora_B")),
    "diffusers": ("unet.", "text_encoder.", True, ("lora_A", "lora_B")),
    "peft": ("base_model.model.", None, True, ("lora_A", "lora_B")),
    "a component alone": ("", None, True, ("lora_A", "lora_B")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_changes_the_weights_by_the_same(layout: str, tmp_path: Path) -> None:
    """With a scale of 3 to 4; no layer of the text encoder has a projection of its output beside it."""
    of_unet, of_encoder, dotted, (down, up) = LAYOUTS[layout]
    parts = Parts(pipelines()["sd"], torch.device("cpu"), lambda _: None, folders=ModelFolders({LORA: [tmp_path]}))
    modules: dict[str, Any] = {name: parts.components[name].module for name in ("unet", "text_encoder")}
    layers = [("unet", of_unet, IN_UNET)] + ([] if of_encoder is None else [("text_encoder", of_encoder, IN_ENCODER)])
    tensors: dict[str, torch.Tensor] = {}
    factors = {}
    for name, begin, path in layers:
        weight = modules[name].get_submodule(path.removeprefix("text_model.")).weight
        factors[name] = torch.randn(4, weight.shape[1]), torch.randn(weight.shape[0], 4)
        layer = begin + (path if dotted else path.replace(".", "_"))
        tensors |= {f"{layer}.{down}.weight": factors[name][0], f"{layer}.{up}.weight": factors[name][1]}
        if layout not in ("diffusers", "peft", "a component alone"):
            tensors[f"{layer}.alpha"] = torch.tensor(3.0)
    settings = {f"{name}.{key}": value for name in modules for key, value in (("r", 4), ("lora_alpha", 3))}
    has_settings = layout in ("diffusers", "peft", "a component alone")
    metadata = {"lora_adapter_metadata": json.dumps(settings)} if has_settings else None
    save_file(tensors, tmp_path / "styled.safetensors", metadata)
    (file,) = ModelFolders({LORA: [tmp_path]}).files(LORA)
    parts.loras.find({"prompt": [Lora("styled")]})
    for name, _, path in layers:
        applied: Any = parts.loras.applied(parts.components[name], [ActiveLora(file, 1.0, 1.0)])
        changed, given = (each.get_submodule(path.removeprefix("text_model.")) for each in (applied, modules[name]))
        first, second = factors[name]
        seen = torch.randn(2, first.shape[1])
        assert torch.allclose(changed(seen), given(seen) + 0.75 * seen @ first.T @ second.T, atol=1e-4)


LYCORIS: dict[str, tuple[PeftConfig, float]] = {
    "loha": (LoHaConfig(r=3, alpha=2), 2),
    "loha of a high rank": (LoHaConfig(r=12, alpha=3), 3),
    "loha with cores": (LoHaConfig(r=3, alpha=2, use_effective_conv2d=True), 2),
    "lokr": (LoKrConfig(r=2, alpha=3, decompose_both=True, decompose_factor=8), 3),
    "lokr with cores": (LoKrConfig(r=2, alpha=3, decompose_factor=4, use_effective_conv2d=True), 3),
    # Whose alpha says nothing.
    "lokr without factors": (LoKrConfig(r=1000, alpha=1000), 7),
}


@pytest.mark.parametrize("kind", LYCORIS)
def test_lycoris_acts_as_in_peft(kind: str, tmp_path: Path) -> None:
    name = "sdxl" if kind == "loha" else "sd"
    prefixes = {"unet": "lora_unet", "text_encoder": "lora_te1" if name == "sdxl" else "lora_te"}
    prefixes |= {"text_encoder_2": "lora_te2"} if name == "sdxl" else {}
    pipeline, (config, alpha) = deepcopy(pipelines()[name]), LYCORIS[kind]
    path = save_lycoris(tmp_path / "woven.safetensors", pipeline, config, alpha, prefixes)
    parts = Parts(pipelines()[name], torch.device("cpu"), lambda _: None, folders=ModelFolders({LORA: [tmp_path]}))
    expected, plain = by_hand(name, pipeline=pipeline), ours(parts, "a dog")
    acted = ours(parts, "a dog <lora:woven>")
    assert (acted - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert (acted - plain).abs().max() > 0.01 * plain.abs().max()
    assert torch.equal(ours(parts, "a dog"), plain)
    (file,) = ModelFolders({LORA: [tmp_path]}).files(LORA)
    assert read_header(file).width == parts.components["unet"].config.cross_attention_dim
    assert path == file.path


def test_one_acts_in_some_steps_only(folder: Path) -> None:
    parts = model("sd", folder)
    pipeline = deepcopy(pipelines()["sd"])
    pipeline.scheduler = make_scheduler("euler", pipeline.scheduler)
    changed = deepcopy(pipeline)
    changed.load_lora_weights(folder / "sd", weight_name="drawn.safetensors", adapter_name="drawn")
    changed.fuse_lora(components=["unet"])
    plain = pipeline.unet

    def turn(pipeline: Any, step: int, _timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        pipeline.unet = changed.unet if step == 0 else plain
        return values

    expected = by_hand("sd", pipeline=pipeline, callback_on_step_end=turn)
    # The second of three steps.
    for tag in ("<lora:drawn:1:from=1:to=2>", "<lora:drawn:from=0.4:to=0.7>", "[[:<lora:drawn>:1]::2]"):
        assert torch.equal(ours(parts, f"a dog {tag}"), expected)
    assert torch.equal(ours(parts, "a dog", loras='{"drawn": {"from": 1, "to": 2}}'), expected)
    always = ours(parts, "a dog <lora:style0>")
    assert torch.equal(ours(parts, "a dog <lora:style0:from=0:to=1.0>"), always)
    assert not torch.equal(ours(parts, "a dog <lora:style0:from=0.5>"), always)
    assert torch.equal(ours(parts, "a dog <lora:style0:from=3>"), ours(parts, "a dog"))


def test_the_model_itself_is_never_changed(folder: Path) -> None:
    parts = model("sd", folder)
    plain = ours(parts, "a dog")
    modules = [list(part.module.modules()) for part in parts.components.values()]
    tensors = [tensor.clone() for part in parts.components.values() for tensor in part.module.state_dict().values()]
    parts.loras._forget_all()
    with FullAt() as counted:
        styled = ours(parts, "a dog <lora:style1>")
    for number in range(1, counted.count, counted.count // 7):
        # Words that are not cached, and a LoRA that is loaded anew.
        parts.loras._forget_all()
        parts._cached.clear()
        with pytest.raises((torch.OutOfMemoryError, ServerError)), FullAt(number):
            ours(parts, "a dog <lora:style1>")
        assert torch.equal(ours(parts, "a dog"), plain)
    assert torch.equal(ours(parts, "a dog <lora:style1>"), styled)
    # Pictures that need the memory get it, and differ by no more than rounding.
    merged = sum(part.size for part in parts.loras.merged.components)
    assert 0 < merged <= parts.components["unet"].size
    assert parts.loras.merged.give_up()
    assert not parts.loras.merged.components
    beside = ours(parts, "a dog <lora:style1>")
    assert 0 < (beside - styled).abs().max() <= 1e-4 * styled.abs().max()
    parts.loras.merged.resume()
    assert torch.equal(ours(parts, "a dog <lora:style1>"), styled)
    after = [tensor for part in parts.components.values() for tensor in part.module.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(tensors, after, strict=True))
    assert [list(part.module.modules()) for part in parts.components.values()] == modules
    assert not any(isinstance(module, BaseTunerLayer) for several in modules for module in several)


def test_they_act_where_layers_are_streamed_to_the_device(folder: Path) -> None:
    """A processor is in the place of a card whose memory counts."""
    device = Placement(torch.device("cpu"), lambda: 2**40)
    folders = ModelFolders({LORA: [folder / "sd"]})
    parts = Parts(deepcopy(pipelines()["sd"]), device.device, device.use, device.forget, folders)
    first, second = ((folder / "sd" / f"style{number}.safetensors", 1.0, 1.0) for number in range(2))
    plain, one = ours(parts, "a dog"), ours(parts, "a dog <lora:style0>")
    for component in (parts.denoiser, parts.components["text_encoder"]):
        device.use([component])
        assert device.slow_down()
    parts._cached.clear()
    assert torch.equal(ours(parts, "a dog <lora:style0>"), by_hand("sd", first, fused=False))
    assert not any(device.has(part) for part in (parts.denoiser, *parts.loras.components))
    # Another one is loaded into what is streamed.
    both = by_hand("sd", first, second, fused=False)
    assert torch.equal(ours(parts, "a dog <lora:style0> <lora:style1>"), both)
    assert torch.equal(ours(parts, "a dog"), plain)
    device.run_as_planned()
    assert torch.equal(ours(parts, "a dog <lora:style0>"), one)
    assert torch.equal(ours(parts, "a dog"), plain)


def test_they_act_beside_weights_that_are_stored_in_fp8(folder: Path) -> None:
    """Also where those are streamed."""
    device = Placement(torch.device("cpu"), lambda: 2**40)
    pipeline = deepcopy(pipelines()["sd"])
    pipeline.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    parts = Parts(pipeline, device.device, device.use, device.forget, ModelFolders({LORA: [folder / "sd"]}))
    prompts = ("a dog", "a dog <lora:style0>")
    plain, styled = (ours(parts, prompt) for prompt in prompts)
    assert (styled - plain).abs().max() > 0.01 * plain.abs().max()
    device.use([parts.denoiser])
    assert device.slow_down()
    assert all(torch.equal(ours(parts, prompt), whole) for prompt, whole in zip(prompts, (plain, styled), strict=True))


def test_rows_with_other_loras_do_not_share_forwards(folder: Path) -> None:
    parts = model("sd", folder)
    prompts = ["a dog", "a dog <lora:style0>", "a cat <lora:style0>", "a dog <lora:style0:0.5>", "a dog <lora:drawn>"]
    rows = [begun(parts, prompt) for prompt in prompts]
    assert [[row.key == other.key for other in rows].index(True) for row in rows] == [0, 1, 1, 3, 4]
    for _ in range(STEPS):
        for group in ([rows[0]], rows[1:3], [rows[3]], [rows[4]]):
            assert not step(family_of(parts.pipeline), parts, group)
    for prompt, row in zip(prompts, rows, strict=True):
        alone = ours(parts, prompt)
        assert (row.latents - alone).abs().max() <= 1e-5 * alone.abs().max()


def test_a_file_is_loaded_once_and_the_oldest_leaves(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="sd_api.models.adapters")
    parts = Parts(pipelines()["sd"], torch.device("cpu"), lambda _: None, folders=ModelFolders({LORA: [folder / "sd"]}))
    for number in range(20):
        begun(parts, f"a dog <lora:style{number % 2}>")
    assert [record.args for record in caplog.records if record.name.startswith("sd_api")] == [("style0",), ("style1",)]
    assert parts.size == sum(part.size for part in (*parts.components.values(), *parts.loras.components))
    together = ours(parts, "a dog <lora:style0> <lora:style1>")
    # Too little for two.
    parts.components["unet"].size = max(part.size for part in parts.loras._cache.components) + 1
    begun(parts, "a dog <lora:drawn>")
    assert {part.name.rpartition(" ")[2] for part in parts.loras._cache.components} == {"drawn"}
    # Those of one request stay.
    assert torch.equal(ours(parts, "a dog <lora:style0> <lora:style1>"), together)


@pytest.mark.parametrize(
    ("prompt", "loras", "field", "words"),
    [
        ("<lora:none>", None, "prompt", "there are: broken, drawn, kohya"),
        ("x", {"../sd/kohya": 1}, "loras", "there are: broken"),
        ("<lora:other>", None, "prompt", "made for Stable Diffusion XL"),
        ("x", {"broken": 1}, "loras", "cut short or damaged"),
        ("<lora:odd>", None, "prompt", "this model cannot use"),
    ],
)
def test_what_cannot_act_is_refused(folder: Path, prompt: str, loras: Any, field: str, words: str) -> None:
    parts = model("sd", folder)
    for _ in range(2):
        with pytest.raises(OutOfLimits) as refusal:
            begun(parts, prompt, loras=json.dumps(loras or {}))
        assert refusal.value.field == field
        assert words in refusal.value.problem
    assert torch.equal(
        ours(parts, "a dog <lora:style0>"), by_hand("sd", (folder / "sd" / "style0.safetensors", 1.0, 1.0))
    )


LAYER = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
READER = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
HOSTILE: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "expression": ({"unet.(a+)+$.lora_A.weight": torch.zeros(1, 1)}, "which is no name of a layer"),
    "many": ({f"unet.x{number}.lora_B.weight": torch.zeros(1, 1) for number in range(20_000)}, "changes 20,000 layers"),
    "rank": (
        {f"{READER}.lora_A.weight": torch.zeros(4, 64), f"{READER}.lora_B.weight": torch.zeros(1, 10**7).half()},
        "its layers claim many times what the file has",
    ),
    "half": ({f"{LAYER}.lora_B.weight": torch.zeros(32, 4)}, "a layer of it lacks one of its two weights"),
    "Kronecker": (
        {f"lora_unet_x.lokr_w{number}": torch.zeros(1000, 1000).half() for number in (1, 2)},
        "its layers are larger than those of this model",
    ),
    "core": (
        {
            "lora_unet_x.lora_mid.weight": torch.zeros(1000, 1, 10, 10).half(),
            "lora_unet_x.lora_down.weight": torch.zeros(1, 10**6).half(),
            "lora_unet_x.lora_up.weight": torch.zeros(1, 1000).half(),
        },
        "its layers are larger than those of this model",
    ),
    "unlike": (
        {f"lora_unet_x.hada_w{number}_{side}": torch.zeros(number, number) for number in (1, 2) for side in "ab"},
        "the tensors of its layer lora_unet_x do not belong together",
    ),
    "one of four": ({"lora_unet_x.hada_w1_a": torch.zeros(4, 4)}, "its layer lora_unet_x lacks hada_w1_b"),
    "more": (
        {"lora_unet_x.lokr_w1": torch.zeros(4, 4), "lora_unet_x.scalar": torch.zeros(())},
        "its layer lora_unet_x has the tensor scalar, which is not read",
    ),
    "kernel": (
        {f"lora_unet_down_blocks_0_resnets_0_conv1.lokr_w{number}": torch.ones(4, 4) for number in (1, 2)},
        "has 16 inputs, and this model's 288",
    ),
    "IA3": ({"lora_unet_x.on_input": torch.zeros(())}, "of a kind that is not read: .IA.³"),
    "DoRA": ({"lora_unet_x.dora_scale": torch.zeros(4, 1)}, "of a kind that is not read: kohya's DoRA"),
    "elsewhere": (
        {
            f"{layer}.lora_{factor}.weight": torch.zeros(4, 32) if factor == "A" else torch.zeros(32, 4)
            for layer in (LAYER, "transformer.blocks.0.to_q")
            for factor in "AB"
        },
        "this model has 1 of the 2 layers that it changes",
    ),
    "transformer": (
        {f"lora_unet_double_blocks_0_img_attn_proj.lora_{end}.weight": torch.zeros(4, 4) for end in ("down", "up")},
        "was made for a model with a transformer; this model has a UNet",
    ),
    "deeper": (
        {
            f"lora_te_text_model_encoder_layers_9_self_attn_q_proj.lora_{factor}.weight": torch.zeros(shape)
            for factor, shape in (("down", (4, 64)), ("up", (64, 4)))
        },
        "this model cannot use|no layers for this model",
    ),
    "settings": (
        {f"{LAYER}.lora_A.weight": torch.zeros(4, 32), f"{LAYER}.lora_B.weight": torch.zeros(32, 4)},
        "its metadata lora_adapter_metadata cannot be read",
    ),
    "flat": ({f"{LAYER.replace('attn1.to_q', 'attn2.to_k')}.lora_A.weight": torch.zeros(4)}, "cannot use"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_costs_next_to_nothing_and_the_next_one_acts(case: str, folder: Path, tmp_path: Path) -> None:
    tensors, reason = HOSTILE[case]
    metadata = {"lora_adapter_metadata": "[1]"} if case == "settings" else None
    save_file(tensors, tmp_path / "hostile.safetensors", metadata)
    (tmp_path / "right.safetensors").symlink_to(folder / "sd" / "style0.safetensors")
    folders = ModelFolders({LORA: [tmp_path]})
    parts = Parts(pipelines()["sd"], torch.device("cpu"), lambda _: None, folders=folders)
    started, process = time.thread_time(), psutil.Process()
    before = process.memory_info().rss
    assert {"hostile", "right"} == {entry["name"] for entry in described_loras(folders)}
    for _ in range(2):
        with pytest.raises(OutOfLimits, match=reason):
            begun(parts, "a <lora:hostile>")
    assert time.thread_time() - started < 2
    assert process.memory_info().rss - before < 100 * 2**20
    assert torch.equal(ours(parts, "a dog <lora:right>"), ours(model("sd", folder), "a dog <lora:style0>"))
