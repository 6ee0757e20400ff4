"""Tiny random IP-Adapters with their image encoders, in the formats that are published."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

# Of the encoder: its hidden states and its embedding.
HIDDEN, PROJECTED, SIDE, TOKENS = 32, 24, 32, 4


def save_image_encoder(folder: Path, **config: Any) -> Path:
    """Write an encoder as transformers does it; ``config`` is what differs from the tiny one."""
    tiny: dict[str, Any] = {"hidden_size": HIDDEN, "num_attention_heads": 2, "projection_dim": PROJECTED}
    made = CLIPVisionConfig(
        intermediate_size=HIDDEN,
        num_hidden_layers=3,
        image_size=SIDE,
        patch_size=8,
        **tiny | config,
    )
    with torch.random.fork_rng():
        torch.manual_seed(11)
        CLIPVisionModelWithProjection(made).save_pretrained(folder)
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
