"""The endpoints that work on finished pictures: other sizes, growing masks, and how a picture was made."""

from typing import Any

from flask import Blueprint
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from sd_api.errors import InvalidField, OutOfLimits
from sd_api.imaging.decoding import read_image, read_mask, room_for
from sd_api.imaging.encoding import encode_png
from sd_api.imaging.masks import prepared
from sd_api.settings import Limits
from sd_api.web.a1111.answers import base64_text, picture_information
from sd_api.web.a1111.pictures import UPSCALERS, picture_bytes, upscaled
from sd_api.web.a1111.requests import PictureText, read_body

# Rows that are mixed at a time.
_ROWS = 256

_FROZEN = ConfigDict(frozen=True)
_PICTURE = Field(description="a picture as base64 text", examples=["iVBORw0KGgo="])


class Resize(BaseModel):
    """How pictures are resized.

    Attributes:
        resize_mode: 0 multiplies both sides by ``upscaling_resize``; 1 makes them ``upscaling_resize_w`` and ``_h``.
        upscaling_crop: Whether mode 1 cuts off what exceeds that size, rather than keeping within it.
        extras_upscaler_2_visibility: The share of the second upscaler's picture, 0 to 1.
    """

    model_config = _FROZEN

    resize_mode: int = Field(default=0, ge=0, le=1, description="0: by a factor; 1: to a width and a height")
    upscaling_resize: float = Field(default=2, gt=0, le=8, description="the factor")
    upscaling_resize_w: int = Field(default=512, ge=1, description="the width in pixels")
    upscaling_resize_h: int = Field(default=512, ge=1, description="the height in pixels")
    upscaling_crop: bool = Field(default=True, description="whether what exceeds the width or the height is cut off")
    upscaler_1: str = Field(default="None", description="one of upscalers")
    upscaler_2: str = Field(default="None", description="one of upscalers, whose picture is mixed in")
    extras_upscaler_2_visibility: float = Field(default=0, ge=0, le=1, description="the share of the second upscaler")
    gfpgan_visibility: float = Field(default=0, ge=0, le=0, description="there is no face restoration")
    codeformer_visibility: float = Field(default=0, ge=0, le=0, description="there is no face restoration")


class ResizeOne(Resize):
    """A picture to resize."""

    image: PictureText = _PICTURE


class NamedPicture(BaseModel):
    """One picture of several."""

    model_config = _FROZEN

    data: PictureText = _PICTURE
    name: str = Field(default="", description="has no effect")


class ResizeSeveral(Resize):
    """Pictures to resize."""

    imageList: list[NamedPicture] = Field(min_length=1, description="the pictures")  # noqa: N815 - A1111's name


class OnePicture(BaseModel):
    """A picture to read."""

    model_config = _FROZEN

    image: PictureText = _PICTURE


class Expansion(BaseModel):
    """A mask that shall grow."""

    model_config = _FROZEN

    mask: PictureText = Field(description="the mask as base64 text", examples=["iVBORw0KGgo="])
    mask_expansion: int = Field(default=0, ge=0, le=512, description="by how many pixels it grows")
    blur: int = Field(default=0, ge=0, le=512, description="the radius of the blur afterwards, in pixels")


def make_blueprint(limits: Limits) -> Blueprint:
    """The endpoints; none of them needs a model."""
    blueprint = Blueprint("a1111_extras", __name__, url_prefix="/sdapi")
    endpoints = ExtrasEndpoints(limits)
    blueprint.add_url_rule("/v1/extra-single-image", view_func=endpoints.resize_one, methods=["POST"])
    blueprint.add_url_rule("/v1/extra-batch-images", view_func=endpoints.resize_several, methods=["POST"])
    blueprint.add_url_rule("/v1/png-info", view_func=endpoints.read_parameters, methods=["POST"])
    blueprint.add_url_rule("/auto-photoshop-sd/mask/expansion/", view_func=endpoints.expand, methods=["POST"])
    return blueprint


class ExtrasEndpoints:
    """One method for each endpoint."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def resize_one(self) -> dict[str, Any]:
        """A picture at another size."""
        asked = read_body(ResizeOne)
        return {"image": self._resized(asked, "image", asked.image), "html_info": ""}

    def resize_several(self) -> dict[str, Any]:
        """Several pictures at other sizes."""
        asked = read_body(ResizeSeveral)
        if len(asked.imageList) > self._limits.max_num_outputs:
            most = self._limits.max_num_outputs
            raise OutOfLimits("imageList", f"has {len(asked.imageList)} pictures; at most {most} are allowed")
        images = [self._resized(asked, "imageList", each.data) for each in asked.imageList]
        return {"images": images, "html_info": ""}

    def read_parameters(self) -> dict[str, Any]:
        """How a picture was made."""
        return picture_information(picture_bytes("image", read_body(OnePicture).image))

    def expand(self) -> dict[str, Any]:
        """A mask that has grown."""
        asked = read_body(Expansion)
        mask = read_mask("mask", picture_bytes("mask", asked.mask), max_pixels=self._limits.max_image_pixels)
        return {"mask": base64_text(encode_png(prepared(mask, mask.size, grow=asked.mask_expansion, blur=asked.blur)))}

    def _resized(self, asked: Resize, field: str, text: str) -> str:
        picture = read_image(field, picture_bytes(field, text), max_pixels=self._limits.max_image_pixels)
        size = asked.upscaling_resize_w, asked.upscaling_resize_h
        if asked.resize_mode == 0:
            width, height = picture.size
            size = max(1, round(width * asked.upscaling_resize)), max(1, round(height * asked.upscaling_resize))
        if size[0] * size[1] > self._limits.max_image_pixels:
            most = self._limits.max_image_pixels
            raise OutOfLimits("upscaling_resize", f"makes {size[0]}×{size[1]} pixels; at most {most:,} are allowed")
        # A few bytes are enough for a picture that becomes large.
        made = size[0] * size[1] * (2 if asked.extras_upscaler_2_visibility else 1)
        with room_for(made, max_pixels=self._limits.max_image_pixels):
            return base64_text(encode_png(_upscaled(picture, size, asked)))


def _upscaled(picture: Image.Image, size: tuple[int, int], asked: Resize) -> Image.Image:
    crop = asked.resize_mode == 1 and asked.upscaling_crop
    first = upscaled(picture, size, _upscaler("upscaler_1", asked.upscaler_1), crop=crop)
    if share := asked.extras_upscaler_2_visibility:
        second = upscaled(picture, size, _upscaler("upscaler_2", asked.upscaler_2), crop=crop)
        # Some rows at a time: Pillow lets no other thread run while it mixes, and a third picture would be made. Where
        # nothing was resized, the first one is the client's, which others may have as well.
        mixed = first.copy() if first is picture else first
        for start in range(0, first.height, _ROWS):
            box = (0, start, first.width, min(start + _ROWS, first.height))
            mixed.paste(Image.blend(first.crop(box), second.crop(box), share), box)
        return mixed
    return first


def _upscaler(field: str, name: str) -> str:
    if name not in UPSCALERS:
        raise InvalidField(field, f"is {name[:40]!r}; valid are {', '.join(UPSCALERS)}")
    return name
