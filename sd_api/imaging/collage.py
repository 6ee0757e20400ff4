"""A large picture with some parts replaced, without a copy of it."""

from PIL import Image


class Collage:
    """An image with others pasted over it; what is read of it is put together then.

    Args:
        canvas: Mode RGB; it is not changed.

    Attributes:
        mode: That of the canvas.
        size: That of the canvas.
    """

    def __init__(self, canvas: Image.Image) -> None:
        self._canvas = canvas
        self._pieces: list[tuple[Image.Image, tuple[int, int]]] = []
        self.mode = canvas.mode
        self.size = canvas.size

    def paste(self, piece: Image.Image, place: tuple[int, int]) -> None:
        """Lay an image over the canvas, with its upper left corner at a place."""
        self._pieces.append((piece, place))

    def crop(self, box: tuple[int, int, int, int]) -> Image.Image:
        """A new image of a part."""
        part = self._canvas.crop(box)
        for piece, (left, upper) in self._pieces:
            if upper < box[3] and upper + piece.height > box[1]:
                part.paste(piece, (left - box[0], upper - box[1]))
        return part
