"""Texts of a megabyte and more, which only images are: they stay the bytes that came until they are decoded."""

from typing import Final

from sd_api.imaging.stretches import stretches_of

LONGEST_PLAIN: Final = 1 << 20
"""Bytes up to which a text of a request is a ``str``."""

# Characters at each end that tell most texts apart, and that are shown.
_ENDS = 64


class LongText:
    """A long text in ASCII that is never made a ``str``, which would be one copy that no other thread interrupts.

    Its slices are plain texts. Two are equal if their characters are. It has a short text to be shown, its beginning.

    Args:
        raw: Its bytes, each below 128; they are not copied, so what they lie in is kept as long as this is.
    """

    def __init__(self, raw: memoryview) -> None:
        self.raw = raw

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, part: slice) -> str:
        return str(self.raw[part], "ascii")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LongText):
            return NotImplemented
        return len(self) == len(other) and all(self[part] == other[part] for part in stretches_of(len(self)))

    def __hash__(self) -> int:
        return hash((len(self), self[:_ENDS], self[-_ENDS:]))

    def __str__(self) -> str:
        return f"{self[:_ENDS]}…"

    def __repr__(self) -> str:
        return repr(str(self))

    @property
    def problem(self) -> str:
        """What is wrong with it in a field without an image, as the end of a sentence that begins with the name."""
        return f"has {len(self)} characters, which only an image may have"


Text = str | LongText
"""What a field of a request with images may hold."""
