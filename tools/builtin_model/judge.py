"""Says what a picture shows; for the evaluation, and for the server's tests."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import ResNetForImageClassification

from .things import COLOURS

PIXELS = 64
"""The side of what the classifier sees."""


class Judge:
    """Names the thing in a picture."""

    def __init__(self, classifier: Path) -> None:
        """Load what ``classifier.train_classifier`` wrote."""
        self._model = ResNetForImageClassification.from_pretrained(classifier, dtype=torch.float32).eval()

    @torch.no_grad()
    def name_thing(self, picture: Image.Image) -> str:
        """The name in ``THINGS`` that the classifier finds likeliest."""
        small = np.array(picture.convert("RGB").resize((PIXELS, PIXELS), Image.Resampling.BICUBIC))
        pixels = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
        name: str = self._model.config.id2label[int(self._model(pixels).logits.argmax())]
        return name


def name_background(picture: Image.Image) -> str:
    """The colour in ``COLOURS`` that is nearest to the median of the outermost pixels."""
    pixels = np.asarray(picture.convert("RGB")).astype(float)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    median = np.median(border, axis=0)
    return min(COLOURS, key=lambda name: float(np.square(median - COLOURS[name]).sum()))
