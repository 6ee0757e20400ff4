"""The bounds of the memory for activations, against what diffusers' own modules hold alive, counted without weights."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLQwenImage,
    AutoencoderTiny,
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from sd_api.models.model_sizes import ModelSizes, Weights
from sd_api.models.published import PUBLISHED
from sd_api.models.working_memory import TEXT_TOKENS, decoding_bytes, denoising_bytes


class Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that are made and not yet freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._sizes:
                    self._sizes[storage._cdata] = storage.nbytes()
                    self._now += storage.nbytes()
                    self.peak = max(self.peak, self._now)
                    weakref.finalize(storage, self._free, storage._cdata)
        return output

    def _free(self, key: int) -> None:
        self._now -= self._sizes.pop(key)


class Fused(TorchFunctionMode):
    """Attention as the fused kernels of graphics cards compute it, without a matrix of all pairs."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is scaled_dot_product_attention:
            query, _key, value = args[:3] if args else ((kwargs or {})[name] for name in ("query", "key", "value"))
            return query.new_empty((*query.shape[:-1], value.shape[-1]))
        return func(*args, **(kwargs or {}))


def peak(call: Callable[[], Any]) -> int:
    alive = Alive()
    with torch.inference_mode(), Fused(), alive:
        call()
    return alive.peak


def made(kind: Any, **config: Any) -> Any:
    with torch.device("meta"):
        return kind(**config).to(torch.bfloat16).eval()


def empty(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.bfloat16, device="meta")


def part(model: str, name: str) -> tuple[ModelSizes, Weights]:
    sizes = PUBLISHED[model]
    return sizes, next(part for part in sizes.components if part.name == name)


UNET = ("Stable Diffusion 1.5", "unet")


def unet() -> int:
    module = made(UNet2DConditionModel, sample_size=64, cross_attention_dim=768)
    return peak(lambda: module(empty(2, 4, 64, 64), empty(2), empty(2, 77, 768)))


# One layer of each kind, as activations do not depend on their number.
def flux() -> int:
    module = made(FluxTransformer2DModel, num_layers=1, num_single_layers=1, guidance_embeds=True)
    return peak(
        lambda: module(
            empty(1, 4096, 64),
            empty(1, TEXT_TOKENS, 4096),
            empty(1, 768),
            empty(1),
            empty(4096, 3),
            empty(TEXT_TOKENS, 3),
            empty(1),
        )
    )


# A picture of a million pixels, the image that is changed and one reference.
def flux_2_edit() -> int:
    module = made(
        Flux2Transformer2DModel,
        num_layers=1,
        num_single_layers=1,
        num_attention_heads=24,
        joint_attention_dim=7680,
        guidance_embeds=False,
    )
    tokens = 3 * 4096
    return peak(
        lambda: module(
            empty(1, tokens, 128),
            empty(1, TEXT_TOKENS, 7680),
            empty(1),
            empty(1, tokens, 4),
            empty(1, TEXT_TOKENS, 4),
        )
    )


def stable_diffusion_3() -> int:
    module = made(SD3Transformer2DModel, num_layers=1, num_attention_heads=24, caption_projection_dim=1536)
    return peak(lambda: module(empty(2, 16, 128, 128), empty(2, 333, 4096), empty(2, 2048), empty(2)))


def sana() -> int:
    module = made(SanaTransformer2DModel, num_layers=1)
    return peak(lambda: module(empty(2, 32, 32, 32), empty(2, 300, 2304), empty(2)))


@pytest.mark.parametrize(
    ("model", "name", "count"),
    [
        (*UNET, unet),
        ("FLUX.1 dev, Fill", "transformer", flux),
        ("FLUX.2 klein 4B", "transformer", flux_2_edit),
        ("Stable Diffusion 3.5 medium", "transformer", stable_diffusion_3),
        ("Sana 1.6B", "transformer", sana),
    ],
)
def test_a_step_takes_no_more_than_its_bound_and_not_much_less(model: str, name: str, count: Callable[[], int]) -> None:
    sizes, denoiser = part(model, name)
    bound = denoising_bytes(denoiser, sizes.native, rows=2 if sizes.guided else 1, dtype="bf16", seen=sizes.seen)
    assert bound / 4 < count() < bound


def test_what_a_unet_computes_is_counted() -> None:
    module, denoiser = made(UNet2DConditionModel, sample_size=64, cross_attention_dim=768), part(*UNET)[1]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(empty(1, 4, 64, 64), empty(1), empty(1, 77, 768))
    assert counter.get_total_flops() / 512**2 == pytest.approx(denoiser.flops, rel=0.4)


@pytest.mark.parametrize(("model", "layers"), [("FLUX.2 klein 4B", 5 + 20), ("FLUX.2 klein 9B", 8 + 24)])
def test_kept_keys_and_values_take_no_more_than_their_bound_and_not_much_less(model: str, layers: int) -> None:
    sizes, denoiser = part(model, "transformer")
    seen = 512 * 512
    none, some = (
        denoising_bytes(denoiser, sizes.native, rows=1, dtype="bf16", seen=pixels, keeps_seen=True)
        for pixels in (0, seen)
    )
    kept = 2 * layers * denoiser.width * (seen // denoiser.cell**2) * 2
    assert kept < some - none < 2 * kept


_LEVELS = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
_DEEP = {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in {
        "block_out_channels": (128, 256, 512, 512, 1024, 1024),
        "layers_per_block": (1,) * 6,
        "block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
        "qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
    }.items()
}


@pytest.mark.parametrize(
    ("model", "kind", "config", "latents"),
    [
        ("Stable Diffusion 1.5", AutoencoderKL, {**_LEVELS, "layers_per_block": 2}, (1, 4, 64, 64)),
        ("FLUX.1 schnell", AutoencoderKL, {**_LEVELS, "latent_channels": 16}, (1, 16, 64, 64)),
        ("Qwen-Image", AutoencoderKLQwenImage, {}, (1, 16, 1, 64, 64)),
        ("Sana 1.6B", AutoencoderDC, {**_DEEP, "latent_channels": 32}, (1, 32, 16, 16)),
        ("Stable Diffusion 1.5", AutoencoderTiny, {}, (1, 4, 64, 64)),
    ],
)
def test_decoding_takes_no_more_than_its_bound_and_not_much_less(
    model: str, kind: Any, config: dict[str, Any], latents: tuple[int, ...]
) -> None:
    module = made(kind, **config)
    bound = decoding_bytes(part(model, "vae")[1], (512, 512), dtype="bf16", tile=0)
    assert bound / 6 < peak(lambda: module.decode(empty(*latents), return_dict=False)) < bound


def test_tiles_bound_what_large_pictures_take() -> None:
    vae = part("Stable Diffusion XL", "vae")[1]
    small = decoding_bytes(vae, (512, 512), dtype="fp16", tile=0)
    assert decoding_bytes(vae, (4096, 4096), dtype="fp16", tile=512) == small
    # This one decodes in fp32, with a copy of its weights.
    assert small == 512 * 512 * 128 * 8 * 4 + vae.elements * 4
    assert decoding_bytes(vae, (512, 512), dtype="bf16", tile=0) == 512 * 512 * 128 * 8 * 2
