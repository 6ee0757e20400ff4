"""Tiny random LoRAs, in the formats that are published."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file

RANK = 4
TARGETS = {
    "unet": ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "conv1"],
    "text_encoder": ["q_proj", "v_proj", "fc1"],
}
LYCORIS_TARGETS = {
    "unet": ["to_q", "to_k", "proj_in", "ff.net.2", "conv1", "conv_shortcut", "downsamplers.0.conv"],
    "text_encoder": TARGETS["text_encoder"],
}


def save_lora(path: Path, pipeline: Any, seed: int, parts: tuple[str, ...] = ("unet", "text_encoder")) -> Path:
    """Write a LoRA for some parts of a pipeline as diffusers does it; the pipeline is left as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(seed)
    for part in parts:
        module = getattr(pipeline, part)
        name = "text_encoder" if part.startswith("text_encoder") else part
        module.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS[name]), adapter_name="made")
        for key, tensor in get_peft_model_state_dict(module, adapter_name="made").items():
            weights[f"{part}.{key}"] = torch.randn(tensor.shape, generator=generator) * 0.1
        module.delete_adapters("made") if hasattr(module, "delete_adapters") else module.delete_adapter("made")
    save_file(weights, path)
    return path


def save_kohya_lora(path: Path, width: int, seed: int, metadata: dict[str, str] | None = None) -> Path:
    """Write a LoRA with the keys of kohya's scripts; its alpha is half its rank."""
    generator = torch.Generator().manual_seed(seed)
    inner = 64
    layers = {
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k": (32, width),
        "lora_unet_down_blocks_2_attentions_0_transformer_blocks_0_attn1_to_q": (inner, inner),
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj": (inner, inner),
        "lora_te_text_model_encoder_layers_1_mlp_fc1": (4 * inner, inner),
    }
    weights: dict[str, torch.Tensor] = {}
    for key, (outputs, inputs) in layers.items():
        weights[f"{key}.lora_down.weight"] = torch.randn((RANK, inputs), generator=generator) * 0.3
        weights[f"{key}.lora_up.weight"] = torch.randn((outputs, RANK), generator=generator) * 0.3
        weights[f"{key}.alpha"] = torch.tensor(RANK / 2)
    save_file(weights, path, metadata)
    return path


def save_lycoris(path: Path, pipeline: Any, config: PeftConfig, alpha: float, prefixes: dict[str, str]) -> Path:
    """Have PEFT change some parts of a pipeline by random layers, and write those with the keys of LyCORIS.

    Args:
        path: The file.
        pipeline: It stays changed.
        config: LoHa's or LoKr's; what it changes is set here.
        alpha: As the file has it.
        prefixes: What the names of layers begin with, by the parts.
    """
    weights: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(3)
    for part, prefix in prefixes.items():
        module = getattr(pipeline, part)
        config.target_modules = LYCORIS_TARGETS["unet" if part == "unet" else "text_encoder"]
        inject_adapter_in_model(config, module, adapter_name="made")
        for key, tensor in get_peft_model_state_dict(module, adapter_name="made").items():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
            layer, _, name = key.rpartition(".")
            layer = f"{prefix}_{layer.replace('.', '_')}"
            weights |= {f"{layer}.{name}": tensor.detach().clone(), f"{layer}.alpha": torch.tensor(alpha)}
    save_file(weights, path)
    return path
