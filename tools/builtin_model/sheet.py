"""The picture sheet of the README: what the model draws from eight prompts."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .evaluate import draw, load_pipeline

PROMPTS = (
    ("a fox on a turquoise background", 1),
    ("pizza, yellow background", 2),
    ("a picture of an owl on a purple background", 3),
    ("a rocket on a black background", 4),
    ("strawberry, white background", 5),
    ("a sunflower on a blue background", 6),
    ("a penguin on a pink background", 7),
    ("a sailboat on an orange background", 8),
)
"""Each with its seed."""
COLUMNS, PICTURE, CAPTION, GAP = 4, 256, 42, 12


def make_sheet(model: Path, out: Path) -> None:
    """Draw the eight at 512 x 512 and write them, half as large and with their prompts below, as one PNG."""
    pipeline = load_pipeline(model)
    rows = len(PROMPTS) // COLUMNS
    width, height = COLUMNS * (PICTURE + GAP) + GAP, rows * (PICTURE + CAPTION + GAP) + GAP
    sheet = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for index, (prompt, seed) in enumerate(PROMPTS):
        left, top = GAP + index % COLUMNS * (PICTURE + GAP), GAP + index // COLUMNS * (PICTURE + CAPTION + GAP)
        picture = draw(pipeline, prompt, seed)
        sheet.paste(picture.resize((PICTURE, PICTURE), Image.Resampling.LANCZOS), (left, top))
        place, words = (left + PICTURE / 2, top + PICTURE + 6), f"{prompt}\nseed {seed}"
        pen.text(place, words, fill="black", font=font, anchor="ma", align="center")
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, optimize=True)
