"""Tiny random IP-Adapters with their image encoders, in the formats that are published."""

import re
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import SD3IPAdapterJointAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection, IPAdapterTimeImageProjection
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, SiglipVisionConfig, SiglipVisionModel

# Of the encoder: its hidden states and its embedding.
HIDDEN, PROJECTED, SIDE, TOKENS = 32, 24, 32, 4


def save_image_encoder(folder: Path, **config: Any) -> Path:
    """Write an encoder of CLIP as transformers does it; ``config`` is what differs from the tiny one."""
    return _save(folder, CLIPVisionModelWithProjection, CLIPVisionConfig, {"projection_dim": PROJECTED} | config)


def save_siglip(folder: Path) -> Path:
    """Write an encoder of SigLIP as transformers does it."""
    return _save(folder, SiglipVisionModel, SiglipVisionConfig, {})


def _save(folder: Path, encoder_class: Any, config_class: Any, config: dict[str, Any]) -> Path:
    tiny = {"hidden_size": HIDDEN, "intermediate_size": HIDDEN, "num_hidden_layers": 3, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(11)
        encoder_class(config_class(**tiny | {"image_size": SIDE, "patch_size": 8} | config)).save_pretrained(folder)
    return folder


def adapter_weights(unet: Any, seed: int, *, plus: bool = False) -> dict[str, torch.Tensor]:
    """The weights of an adapter for a UNet, by the names that its publishers give them."""
    width = unet.config.cross_attention_dim
    generator = torch.Generator().manual_seed(seed)

    def drawn(shape: torch.Size | tuple[int, ...], gain: float = 1.0) -> torch.Tensor:
        values: torch.Tensor = torch.randn(shape, generator=generator) * (gain / max(1, shape[-1]) ** 0.5)
        return values

    weights = {f"image_proj.{name}": drawn(shape, 3.0) for name, shape in _projection(width, plus=plus).items()}
    number = 1
    for name in unet.attn_processors:
        if not name.endswith("attn1.processor"):
            layer = unet.get_submodule(name.removesuffix(".processor"))
            for kind in ("k", "v"):
                weights[f"ip_adapter.{number}.to_{kind}_ip.weight"] = drawn((layer.inner_dim, width), 2.0)
            number += 2
    return weights


def flux_weights(transformer: Any, seed: int) -> dict[str, torch.Tensor]:
    """The weights of an adapter for FLUX.1, by the names that XLabs gives them."""
    width = transformer.config.joint_attention_dim
    projection = ImageProjection(PROJECTED, width, TOKENS)
    own: dict[str, Any] = {
        "ip_adapter_proj_model.proj": projection.image_embeds,
        "ip_adapter_proj_model.norm": projection.norm,
    }
    for number in range(transformer.config.num_layers):
        made = FluxIPAdapterAttnProcessor(transformer.inner_dim, width)
        begin = f"double_blocks.{number}.processor.ip_adapter_double_stream"
        own |= {f"{begin}_k_proj": made.to_k_ip[0], f"{begin}_v_proj": made.to_v_ip[0]}
    return _drawn(
        {f"{name}.{key}": tensor for name, each in own.items() for key, tensor in each.state_dict().items()}, seed
    )


# What the first adapters for Stable Diffusion 3 call the layers of what makes their tokens.
_FIRST_NAMES = {
    "ln0": "0.norm1",
    "ln1": "0.norm2",
    "attn.to_q": "0.to_q",
    "attn.to_kv": "0.to_kv",
    "attn.to_out.0": "0.to_out",
    "adaln_norm": "1.0",
    "ff.net.0.proj": "1.1",
    "ff.net.2": "1.3",
    "adaln_proj": "2.1",
}


def sd3_weights(transformer: Any, seed: int) -> dict[str, torch.Tensor]:
    """The weights of an adapter for Stable Diffusion 3, by the names that its publishers give them."""
    width, inner = transformer.inner_dim, 64
    made = IPAdapterTimeImageProjection(HIDDEN, width, inner, heads=1, num_queries=TOKENS, timestep_in_dim=16)
    own: dict[str, torch.Tensor] = {}
    for name, tensor in made.state_dict().items():
        layer = re.fullmatch(r"(layers\.\d+)\.(.+)\.(weight|bias)", name)
        own[f"image_proj.{layer[1]}.{_FIRST_NAMES[layer[2]]}.{layer[3]}" if layer else f"image_proj.{name}"] = tensor
    for number in range(transformer.config.num_layers):
        processor = SD3IPAdapterJointAttnProcessor2_0(width, width, transformer.config.attention_head_dim, inner)
        own |= {f"ip_adapter.{number}.{name}": tensor for name, tensor in processor.state_dict().items()}
    return _drawn(own, seed)


def _drawn(shapes: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Random values of the same shapes."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(tensor.shape, generator=generator) * (2.0 / max(1, tensor.shape[-1]) ** 0.5)
        for name, tensor in shapes.items()
    }


def _projection(width: int, *, plus: bool) -> dict[str, tuple[int, ...]]:
    if not plus:
        shapes: dict[str, tuple[int, ...]] = {
            "proj.weight": (TOKENS * width, PROJECTED),
            "proj.bias": (TOKENS * width,),
        }
        return shapes | _norm("norm", width)
    inner, head = 16, 64
    shapes = {
        "latents": (1, TOKENS, inner),
        "proj_in.weight": (inner, HIDDEN),
        "proj_in.bias": (inner,),
        "proj_out.weight": (width, inner),
        "proj_out.bias": (width,),
        **_norm("norm_out", width),
    }
    for layer in ("layers.0", "layers.1", "layers.2", "layers.3"):
        shapes |= _norm(f"{layer}.0.norm1", inner) | _norm(f"{layer}.0.norm2", inner) | _norm(f"{layer}.1.0", inner)
        shapes |= {f"{layer}.0.to_q.weight": (head, inner), f"{layer}.0.to_kv.weight": (2 * head, inner)}
        shapes |= {f"{layer}.0.to_out.weight": (inner, head)}
        shapes |= {f"{layer}.1.1.weight": (4 * inner, inner), f"{layer}.1.3.weight": (inner, 4 * inner)}
    return shapes


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def save_adapter(path: Path, weights: dict[str, torch.Tensor]) -> Path:
    """Write an adapter as safetensors or, as ``.bin``, pickled with a table for each of its two parts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(weights, path)
        return path
    tables: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in weights.items():
        table, _, rest = name.partition(".")
        tables[table][rest] = tensor
    torch.save(tables, path)
    return path
