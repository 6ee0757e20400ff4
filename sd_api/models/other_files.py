"""What people take for models: additions, parts and files of other programs, by the names of their tensors."""

import re

from sd_api.errors import ModelUnavailable
from sd_api.models.headers import Header

_TEXT_ENCODER = 'a text encoder, which a model takes as one of its "text_encoders"'
_AUTOENCODER = 'an autoencoder, which a model takes as its "vae"'

# By the whole name of one of its tensors; where the pattern begins with (?i), by a part of it.
_OTHERS: tuple[tuple[str, str], ...] = (
    (
        r"(?i)lora|hada_w|lokr_w|\.oft_blocks|\.diff(_b)?$|\.dora_scale",
        "a LoRA: a small addition to a model, not a model itself",
    ),
    (
        r"emb_params|clip_[lg]|string_to_param.*",
        "a textual inversion embedding: a word for a model, not a model itself",
    ),
    (
        r"control_model\..*|controlnet_cond_embedding\..*|controlnet_.*|control_(all_x_embedder|layers)\..*",
        "a ControlNet: an addition to a model",
    ),
    (r".*\.motion_modules\..*", "an AnimateDiff module, which moves the pictures of a model"),
    (r".*\.(time_stack|time_mixer)\..*|(model\.diffusion_model\.)?head\.modulation", "a model of videos"),
    (
        r"(audio_vae|vocoder|pretransform|conditioner\.conditioners|lyric_embs|audio_proj)\..*|model\.encoder\.conv1\.weight",
        "a model of sounds, or of videos with sounds",
    ),
    (r"adapter\..*", "a T2I adapter: an addition to a model"),
    (
        r"(encoder|decoder)\.(conv_in|mid|mid_block|middle|stages|project_in|layers\.\d+\.(weight|conv))\b.*",
        _AUTOENCODER,
    ),
    (r"(model\.)?(language_model|visual\.(patch_embed|merger))\..*|model\.layers\.\d+\.self_attn\..*", _TEXT_ENCODER),
    (
        r"(text_model\.)?embeddings\.token_embedding\..*|encoder\.block\.0\..*|transformer\.resblocks\.0\..*"
        r"|token_embd\.weight|model\.embed_tokens\.weight|bert\..*",
        _TEXT_ENCODER,
    ),
    (r"concept_embeds", "a safety checker, which looks at the pictures of a model"),
    (r"vision_model\..*|visual\.(conv1|transformer)\..*", "an encoder of images: a part of a model"),
    (r"optimizer(_states)?\..*", "the state of a training"),
    (r"(image_proj|ip_adapter)\..*", "an IP adapter: an addition to a model"),
    (
        r"RRDB_trunk\..*|body\.0\.rdb1\..*|model\.0\.weight|conv_first\.weight|before_RG\..*|layers\.0\.residual_group\..*",
        "an upscaler, which draws nothing by itself",
    ),
    (r"(image_encoder|mask_decoder|depth_head|pretrained)\..*", "a network that looks at pictures and draws none"),
    (
        r".*\.quant_state\.bitsandbytes.*|.*\.absmax",
        "quantised by bitsandbytes for another program, which only folders can be",
    ),
    (r".*\.(qweight|wscales|smooth_factor)", "quantised by Nunchaku, which this server does not run"),
)

_SHARD = re.compile(r"-\d{5}-of-(\d{5})$")


def shards_of(name: str) -> int | None:
    """Of how many files with the weights of one part a file is one, by its name without the ending."""
    return int(shard[1]) if (shard := _SHARD.search(name)) else None


def refuse_other_files(header: Header) -> None:
    """Refuse what is no model.

    Raises:
        ModelUnavailable: with what it is.
    """
    if (shards := shards_of(header.name)) is not None:
        raise ModelUnavailable(
            f"{header.path} is one of the {shards} files that hold the weights of one part of a model. Give the "
            "folder of the whole model, the one with model_index.json."
        )
    for pattern, name in _OTHERS:
        matching = re.compile(pattern)
        whole = not pattern.startswith("(?i)")
        if any((matching.fullmatch if whole else matching.search)(tensor) for tensor in header.tensors):
            raise ModelUnavailable(f"{header.path} is {name}. Give the file of a whole model.")
