"""Where a layer or a patch lies, as the dialects' answers describe it for OpenAPI; see ``Placement``."""

from pydantic import BaseModel, Field


class Offset(BaseModel):
    """The place of a picture's upper left corner, in pixels."""

    x: int = Field(description="from the left edge of the canvas", examples=[192])
    y: int = Field(description="from its upper edge", examples=[64])


class CanvasSize(BaseModel):
    """The size of a canvas, in pixels."""

    width: int = Field(description="its width", examples=[1024])
    height: int = Field(description="its height", examples=[768])


class Placed(BaseModel):
    """A picture that may be a layer or a patch."""

    offset: Offset | None = Field(
        default=None, description="of a layer or a patch: where it lies on the canvas", examples=[None]
    )
    canvas: CanvasSize | None = Field(
        default=None, description="of a layer or a patch: the size of the canvas", examples=[None]
    )
