"""Bounds of the memory that activations take, from the widths of a component and the size of the picture.

The factors are counts of live elements: what is alive at once in diffusers' own modules with torch's fused attention,
counted tensor by tensor on the meta device (``tests/models/test_working_memory.py``), rounded up by a fifth or more for
what libraries allocate besides. Activations do not depend on the number of layers: without gradients only those of
the running layer are alive, and in a UNet those that its skips hold.
"""

from sd_api.models.model_sizes import ITEM_BYTES, Weights

# Live elements for each element of the widest activation. Counted: 26.1 (SD 1.5), 15.8 (SDXL, less of which is wide).
UNET_FACTOR = 32
# For each token and element of the width. Counted: 17.4 (FLUX.1), 14.7 (Sana), 14.4 (Qwen-Image), 13.7 (SD 3).
TRANSFORMER_FACTOR = 24
# For each pixel and channel of the last level. Counted: 6.5 (Sana's), 6.0 (AutoencoderKL), 3.0 (tiny).
AUTOENCODER_FACTOR = 8
# Those that keep frames of a video beside them. Counted: 18.1 (Qwen-Image's).
VIDEO_AUTOENCODER_FACTOR = 24

# The weights by the numbers that all layers keep of one token, in widths: keys and values are 2 * width for each layer,
# which has 12 * width**2 weights or more.
KEPT_DIVISOR = 6

# The longest prompts of all families, in tokens.
TEXT_TOKENS = 512

AUTOENCODER_TILES = (0, 512, 256)
"""Sides of the autoencoder's tiles in pixels, from the fastest; 0 is the whole picture at once."""


def denoising_bytes(
    part: Weights, size: tuple[int, int], *, rows: int, dtype: str, seen: int = 0, keeps_seen: bool = False
) -> int:
    """What one step takes beside the weights.

    Args:
        part: the denoiser.
        size: width and height of the picture in pixels.
        rows: those of one forward: two for a picture with guidance.
        dtype: of the arithmetic.
        seen: the pixels of the images that it sees beside the picture.
        keeps_seen: whether it keeps their keys and values, in place of looking at them in each step.
    """
    cells = -(-size[0] // part.cell) * -(-size[1] // part.cell)
    if part.is_unet:
        return rows * cells * part.width * UNET_FACTOR * ITEM_BYTES[dtype]
    tokens, others = cells + TEXT_TOKENS, -(-seen // part.cell**2)
    if not keeps_seen:
        return rows * (tokens + others) * part.width * TRANSFORMER_FACTOR * ITEM_BYTES[dtype]
    kept = rows * others * part.count // (KEPT_DIVISOR * part.width)
    return (rows * max(tokens, others) * part.width * TRANSFORMER_FACTOR + kept) * ITEM_BYTES[dtype]


def decoding_bytes(part: Weights, size: tuple[int, int], *, dtype: str, tile: int) -> int:
    """What decoding one picture takes beside the weights: a copy of the weights in fp32 where it overflows in fp16.

    Args:
        part: the autoencoder.
        size: width and height of the picture in pixels.
        dtype: of its weights.
        tile: the side of a tile in pixels; 0 for the whole picture at once.
    """
    width, height = size if not tile else (min(tile, size[0]), min(tile, size[1]))
    in_full = part.upcast and dtype == "fp16"
    item = ITEM_BYTES["fp32" if in_full else dtype]
    factor = VIDEO_AUTOENCODER_FACTOR if part.is_video else AUTOENCODER_FACTOR
    return width * height * part.width * factor * item + (part.elements * item if in_full else 0)


def encoding_bytes(part: Weights, *, dtype: str) -> int:
    """What encoding a prompt, with a negative one, takes beside the weights."""
    return 2 * TEXT_TOKENS * part.width * TRANSFORMER_FACTOR * ITEM_BYTES[dtype]
