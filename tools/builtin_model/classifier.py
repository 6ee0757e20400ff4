"""The judge of the evaluation and the tests: names the thing in a picture. It has only ever seen rendered icons."""

from pathlib import Path

import torch
from torch.nn import functional
from transformers import ResNetConfig, ResNetForImageClassification

from .recognition import SmallScenes, train
from .training import SEED, Log

STEPS = 2500
SCENES = 12_000


def train_classifier(icons: Path, folder: Path, out: Path) -> None:
    """Train it, and write it in half precision as a transformers model to ``out``; nothing where it is there."""
    if (out / "model.safetensors").exists():
        return
    torch.manual_seed(SEED)
    scenes = SmallScenes(icons, SCENES)
    config = ResNetConfig(
        embedding_size=24,
        hidden_sizes=[32, 64, 128],
        depths=[1, 1, 1],
        layer_type="basic",
        id2label=dict(enumerate(scenes.things)),
        label2id={thing: label for label, thing in enumerate(scenes.things)},
    )
    model = ResNetForImageClassification(config)

    def loss_of(pictures: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(model(pictures).logits, labels, label_smoothing=0.05)

    train(model, loss_of, scenes, STEPS, Log(folder / "classifier.jsonl"))
    model.half().save_pretrained(out)
