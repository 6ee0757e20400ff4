"""LoRAs act in transformers as in diffusers' own pipelines, for the rows that ask for them, and leave no trace."""

import random
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from controlled import IMAGE, asked, begun, control, ours, theirs
from running import FullAt, fresh_runs
from safetensors.torch import save_file
from tiny_controls import transformer_net
from tiny_ip_adapters import flux_weights, save_adapter, save_image_encoder, save_siglip, sd3_weights
from tiny_pipelines import weights

from sd_api.engine.diffusion import step
from sd_api.errors import OutOfLimits, ServerError
from sd_api.generation.images import ImageRef
from sd_api.generation.references import Reference
from sd_api.models.adapters.active_loras import ActiveLora
from sd_api.models.components import Parts
from sd_api.models.families.registry import family_of
from sd_api.models.folders import CONTROLNET, LORA, ModelFolders
from sd_api.models.schedulers import make_scheduler
from sd_api.prompting.prompt import Lora

NAMES = ("flux", "stable diffusion 3", "qwen-image", "z-image", "sana", "lumina 2", "flux.2 klein", "chroma", "krea 2")
RANK = 4


def first_linear(module: Any) -> tuple[str, torch.nn.Linear]:
    """A layer that every transformer has: the first of its attention."""
    layers = ((path, each) for path, each in module.named_modules() if isinstance(each, torch.nn.Linear))
    return next((path, each) for path, each in layers if path.endswith(".to_q"))


def save(path: Path, layers: dict[str, torch.nn.Linear], seed: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Write a LoRA for some layers with diffusers' names, and say what its factors are."""
    generator = torch.Generator().manual_seed(seed)
    factors = {
        name: (
            torch.randn(RANK, layer.in_features, generator=generator) * 0.3,
            torch.randn(layer.out_features, RANK, generator=generator) * 0.3,
        )
        for name, layer in layers.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, torch.Tensor] = {}
    for name, (down, up) in factors.items():
        tensors |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    save_file(tensors, path)
    return factors


def of_encoder(pipeline: Any) -> dict[str, torch.nn.Linear]:
    """A layer of the text encoder, by its name in a file."""
    path = next(path for path, _ in pipeline.text_encoder.named_modules() if path.endswith("0.self_attn.q_proj"))
    return {f"text_encoder.{path}": pipeline.text_encoder.get_submodule(path)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loras")


@cache
def model(name: str, folder: Path) -> Parts:
    pipeline = weights(name)
    pipeline.set_progress_bar_config(disable=True)
    path, layer = first_linear(pipeline.transformer)
    layers = {f"transformer.{path}": layer}
    save(folder / name / "style.safetensors", layers, 1)
    if name in ("flux", "stable diffusion 3"):
        layers |= of_encoder(pipeline)
    save(folder / name / "both.safetensors", layers, 2)
    return Parts(pipeline, torch.device("cpu"), lambda _: None, folders=ModelFolders({LORA: [folder / name]}))


def by_hand(name: str, path: Path) -> torch.Tensor:
    """The latents of diffusers' pipeline, with a LoRA fused into its transformer."""
    made = deepcopy(weights(name))
    made.scheduler = make_scheduler(None, made.scheduler)
    made.load_lora_weights(path.parent, weight_name=path.name, adapter_name="style")
    made.set_adapters("style", 0.7)
    made.fuse_lora(components=["transformer"])
    negative = "blue" if name == "stable diffusion 3" else None
    return theirs(made, negative_prompt=negative, guidance_scale=5.0)


@pytest.mark.parametrize("name", ["flux", "stable diffusion 3"])
def test_one_acts_as_in_diffusers_in_the_text_encoder_too(name: str, folder: Path) -> None:
    parts = model(name, folder)
    plain = ours(parts, asked("txt2img"))
    styled = ours(parts, asked("txt2img", prompt="a dog<lora:both:0.7>"))
    expected = by_hand(name, folder / name / "both.safetensors")
    assert torch.equal(styled, expected), (styled - expected).abs().max()
    assert (styled - plain).abs().max() > 0.001 * plain.abs().max()
    alone = ours(parts, asked("txt2img", prompt="a dog<lora:both:0.7:0>"))
    assert not torch.equal(alone, styled), "the text encoder"
    assert torch.equal(ours(parts, asked("txt2img")), plain)


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_of_every_architecture_is_changed(name: str, folder: Path) -> None:
    parts = model(name, folder)
    path, layer = first_linear(parts.denoiser.module)
    before = layer.weight.clone()
    factors = save(folder / name / "style.safetensors", {f"transformer.{path}": layer}, 1)
    (file,) = (each for each in ModelFolders({LORA: [folder / name]}).files(LORA) if each.name == "style")
    parts.loras.find({"prompt": [Lora("style")]})
    applied: Any = parts.loras.applied(parts.denoiser, [ActiveLora(file, 0.5, 0.5)])
    down, up = factors[f"transformer.{path}"]
    assert torch.allclose(applied.get_submodule(path).weight, before + 0.5 * up @ down, atol=1e-5)
    rows = [begun(parts, asked("txt2img", prompt=prompt)) for prompt in ("a dog", "a dog<lora:style>")]
    assert rows[0].key != rows[1].key
    with torch.inference_mode():
        one, other = (family_of(parts.pipeline).predict(parts, [row])[0] for row in rows)
    assert not torch.equal(one, other)
    assert torch.equal(layer.weight, before)


def test_one_acts_in_some_steps_only(folder: Path) -> None:
    parts = model("flux", folder)
    rows = [begun(parts, asked("txt2img", prompt=f"a dog{tag}")) for tag in ("", "<lora:style:from=1:to=2>")]
    seen = []
    for _ in range(3):
        for row in rows:
            assert not step(family_of(parts.pipeline), parts, [row])
        seen.append((rows[0].key == rows[1].key, torch.equal(rows[0].latents, rows[1].latents)))
    assert seen == [(False, True), (True, False), (True, False)]


def adapters_of(name: str, folder: Path) -> tuple[Reference, ...]:
    """A reference by an IP-Adapter, where there are any for the architecture."""
    made = {"flux": flux_weights, "stable diffusion 3": sd3_weights}.get(name)
    if made is None:
        return ()
    save_adapter(folder / "ip-adapter" / "seen.safetensors", made(weights(name).transformer, 4))
    save_image_encoder(folder / "clip_vision" / "clip")
    save_siglip(folder / "clip_vision" / "siglip")
    return (Reference(image=ImageRef.of(IMAGE, "image"), adapter="seen", end=0.5),)


@pytest.mark.parametrize("name", ["flux", "stable diffusion 3", "z-image"])
def test_no_run_leaves_anything_for_the_next(name: str, folder: Path, tmp_path: Path) -> None:
    """Random sequences, each run of which breaks off anywhere, or after a step: the others are as on a fresh server."""
    model(name, folder)
    pipeline, choose = weights(name), random.Random(5)
    transformer_net(pipeline.transformer).save_pretrained(tmp_path / "lines")
    references = adapters_of(name, tmp_path)
    folders = ModelFolders({LORA: [folder / name], CONTROLNET: [tmp_path]}, [tmp_path])
    parts = Parts(pipeline, torch.device("cpu"), lambda _: None, folders=folders)
    about: list[dict[str, Any]] = [{}, {"controls": (control("lines"),)}, {"loras": '{"both": 0.7}'}]
    about.append({**about[1], **about[2], "references": references})
    kinds = [asked("txt2img", steps=2, **fields) for fields in about]
    modules = [list(part.module.modules()) for part in parts.components.values()]
    tensors = [tensor.clone() for part in parts.components.values() for tensor in part.module.state_dict().values()]
    fresh, counts = fresh_runs(kinds, lambda: _forget(parts), partial(ours, parts))
    assert len({latents.sum().item() for latents in fresh}) == len(kinds)
    for attempt in range(6):
        number, other = choose.randrange(1, len(kinds)), choose.randrange(len(kinds))
        if attempt % 4:
            _forget(parts)
            with pytest.raises((torch.OutOfMemoryError, ServerError)), FullAt(choose.randrange(1, counts[number])):
                ours(parts, kinds[number])
        else:
            assert not step(family_of(pipeline), parts, [begun(parts, kinds[number])])
        assert torch.equal(ours(parts, kinds[other]), fresh[other])
    after = [tensor for part in parts.components.values() for tensor in part.module.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(tensors, after, strict=True))
    assert [list(part.module.modules()) for part in parts.components.values()] == modules


def _forget(parts: Parts) -> None:
    """Have the next run load and encode everything anew."""
    parts.loras._forget_all()
    parts.controls._cache.clear()
    parts.ip_adapters._hosts.clear()
    parts.ip_adapters._cache.clear()
    parts.ip_adapters._encoders.clear()
    parts._cached.clear()


KOHYA = "lora_unet_double_blocks_0_img_attn_proj"
FACTORS = {"lora_down.weight": (4, 32), "lora_up.weight": (32, 4)}
FLUX_FILES: dict[str, tuple[dict[str, torch.Tensor], str | None]] = {
    "kohya": ({f"{KOHYA}.{end}": torch.ones(shape) for end, shape in FACTORS.items()}, None),
    "lycoris": (
        {
            f"lycoris_transformer_blocks_0_attn_to_q.lokr_w{number}": torch.ones(shape)
            for number, shape in ((1, (4, 4)), (2, (8, 8)))
        },
        None,
    ),
    "unknown layer": (
        {f"{layer}.{end}": torch.ones(shape) for layer in (KOHYA, "lora_unet_x") for end, shape in FACTORS.items()},
        "Incompatible keys detected: lora_unet_x",
    ),
    "norms": (
        {
            "transformer.transformer_blocks.0.attn.norm_q.weight": torch.ones(8),
            "transformer.x_embedder.lora_A.weight": torch.ones(4, 4),
        },
        "norm_q.weight, which is not read",
    ),
    "more channels": (
        {
            "transformer.x_embedder.lora_A.weight": torch.ones(4, 32),
            "transformer.x_embedder.lora_B.weight": torch.ones(32, 4),
        },
        "its layer x_embedder has 32 inputs",
    ),
    "a unet's": (
        {f"unet.down_blocks.0.to_q.lora_{end}.weight": torch.ones(4, 4) for end in "AB"},
        "was made for a model with a UNet; this model has a transformer",
    ),
}


@pytest.mark.parametrize("case", FLUX_FILES)
def test_other_programs_files_act_or_are_refused(case: str, tmp_path: Path) -> None:
    tensors, problem = FLUX_FILES[case]
    save_file(tensors, tmp_path / "style.safetensors")
    parts = Parts(weights("flux"), torch.device("cpu"), lambda _: None, folders=ModelFolders({LORA: [tmp_path]}))
    plain = {name: tensor.clone() for name, tensor in parts.denoiser.module.state_dict().items()}
    if problem is None:
        (found,) = parts.loras.find({"prompt": [Lora("style")]})
        assert parts.loras.applied(parts.denoiser, [ActiveLora(found.file, 1.0, 1.0)]) is not parts.denoiser
    else:
        with pytest.raises(OutOfLimits, match=problem):
            parts.loras.find({"prompt": [Lora("style")]})
    assert all(torch.equal(plain[name], tensor) for name, tensor in parts.denoiser.module.state_dict().items())
