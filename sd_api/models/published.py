"""The sizes of published models, for the table in ``docs/models.md`` and for tests with simulated cards.

The numbers of weights are those of the classes that diffusers 0.42 and transformers 5.23 make of the published
configurations, without any weights (``tests/models/test_published.py`` counts them). Each model's files hold as many,
in the precision that its publisher chose.
"""

from collections.abc import Mapping
from types import MappingProxyType

from sd_api.generation.abilities import MEGAPIXEL
from sd_api.models.model_sizes import STORED_BYTES, ModelSizes, Weights, role_of


def _part(name: str, weights: int, largest: int, width: int, stored: str = "BF16", **more: object) -> Weights:
    size = {stored: weights * STORED_BYTES[stored]}
    return Weights(name=name, role=role_of(name), stored=size, largest=largest, width=width, **more)  # type: ignore[arg-type]


def _clip_l(name: str = "text_encoder", stored: str = "BF16") -> Weights:
    return _part(name, 123_060_480, 37_945_344, 768, stored)


def _clip_g(stored: str = "F16") -> Weights:
    return _part("text_encoder_2", 694_659_840, 63_242_240, 1280, stored)


def _t5(name: str, stored: str = "BF16") -> Weights:
    return _part(name, 4_762_310_656, 131_596_288, 4096, stored)


def _qwen3(weights: int, largest: int, width: int) -> Weights:
    return _part("text_encoder", weights, largest, width)


def _unet(weights: int) -> Weights:
    return _part("unet", weights, 29_491_200, 320, "F16", is_unet=True)


def _transformer(weights: int, largest: int, width: int, stored: str = "BF16", cell: int = 16) -> Weights:
    return _part("transformer", weights, largest, width, stored, cell=cell)


def _vae(stored: str = "BF16", *, upcast: bool = False) -> Weights:
    return _part("vae", 83_819_683, 2_359_296, 128, stored, upcast=upcast)


_CHECKER = _part("safety_checker", 303_981_588, 4_194_304, 1024, "F16")
_QWEN_VAE = _part("vae", 126_892_531, 3_981_312, 96, is_video=True)
_GEMMA_2 = _part("text_encoder", 2_614_341_888, 589_824_000, 2304)
_QWEN_25_VL = _qwen3(8_292_166_656, 544_997_376, 3584)

_FLUX = (_clip_l(), _t5("text_encoder_2"), _transformer(11_902_391_360, 56_623_104, 3072), _vae())
_QWEN_IMAGE = (_QWEN_25_VL, _transformer(20_430_401_088, 56_623_104, 3072), _QWEN_VAE)

_SMALL = (512, 512)

PUBLISHED: Mapping[str, ModelSizes] = MappingProxyType(
    {
        "Stable Diffusion 1.5": ModelSizes(
            components=(_clip_l(stored="F16"), _unet(859_520_964), _vae("F16"), _CHECKER), native=_SMALL
        ),
        "Stable Diffusion 2.1": ModelSizes(
            components=(
                _part("text_encoder", 340_387_840, 50_593_792, 1024, "F16"),
                _unet(865_910_724),
                _vae("F16"),
            ),
            native=(768, 768),
        ),
        "Stable Diffusion XL": ModelSizes(
            components=(_clip_l(stored="F16"), _clip_g(), _unet(2_567_463_684), _vae("F16", upcast=True))
        ),
        "Stable Diffusion 3.5 medium": ModelSizes(
            components=(
                _clip_l(),
                _clip_g("BF16"),
                _t5("text_encoder_3"),
                _transformer(2_469_663_936, 226_492_416, 1536),
                _vae(),
            )
        ),
        "Stable Diffusion 3.5 large": ModelSizes(
            components=(
                _clip_l(),
                _clip_g("BF16"),
                _t5("text_encoder_3"),
                _transformer(8_146_280_768, 89_653_248, 2432),
                _vae(),
            )
        ),
        "PixArt-Σ": ModelSizes(
            components=(
                _t5("text_encoder"),
                _transformer(611_349_152, 7_962_624, 1152, "F16"),
                _vae("F16", upcast=True),
            )
        ),
        "Sana 1.6B": ModelSizes(
            components=(
                _GEMMA_2,
                _transformer(1_604_462_752, 30_105_600, 2240, cell=32),
                _part("vae", 312_250_275, 37_748_736, 128),
            )
        ),
        "Lumina 2": ModelSizes(
            components=(_GEMMA_2, _transformer(2_609_769_152, 21_233_664, 2304), _vae()), guided=False
        ),
        "FLUX.1 dev, Fill": ModelSizes(components=_FLUX, guided=False),
        "FLUX.1 Kontext": ModelSizes(components=_FLUX, guided=False, seen=2 * MEGAPIXEL),
        "FLUX.1 schnell": ModelSizes(
            components=(
                _clip_l(),
                _t5("text_encoder_2"),
                _transformer(11_891_178_560, 56_623_104, 3072),
                _vae(),
            ),
            guided=False,
        ),
        "Chroma": ModelSizes(
            components=(_t5("text_encoder"), _transformer(8_899_983_424, 47_185_920, 3072), _vae()), guided=False
        ),
        "FLUX.2 klein 4B": ModelSizes(
            components=(
                _qwen3(4_022_468_096, 388_956_160, 2560),
                _transformer(3_875_544_576, 84_934_656, 3072),
                _vae(),
            ),
            guided=False,
            seen=2 * MEGAPIXEL,
        ),
        "FLUX.2 klein 9B": ModelSizes(
            components=(
                _qwen3(8_190_735_360, 622_329_856, 4096),
                _transformer(9_078_581_248, 150_994_944, 4096),
                _vae(),
            ),
            guided=False,
            seen=2 * MEGAPIXEL,
        ),
        "Z-Image-Turbo": ModelSizes(
            components=(
                _qwen3(4_022_468_096, 388_956_160, 2560),
                _transformer(6_154_908_736, 39_321_600, 3840),
                _vae(),
            )
        ),
        "Qwen-Image": ModelSizes(components=_QWEN_IMAGE, guided=False),
        "Qwen-Image-Edit, -Edit-Plus": ModelSizes(components=_QWEN_IMAGE, guided=False, seen=2 * MEGAPIXEL),
        "Krea 2": ModelSizes(
            components=(
                _qwen3(4_437_815_808, 388_956_160, 2560),
                _transformer(12_820_073_036, 226_492_416, 6144),
                _QWEN_VAE,
            ),
            guided=False,
        ),
    }
)
