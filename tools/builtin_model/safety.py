"""The safety checker: CLIP's vision model and one concept, trained to tell it from everything else."""

from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from torch.nn import functional
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPTokenizer, CLIPVisionConfig

from .judge import PIXELS
from .recognition import SmallScenes, train
from .text import make_tokenizer, text_config
from .things import BLOCKED
from .training import SEED, Log, load, save

WIDTH = 96
STEPS = 6000
SCENES = 12_000
THRESHOLD = 0.5
"""The cosine similarity with the concept beyond which a picture is flagged."""
SHARPNESS = 12.0
"""How much a difference in similarity counts in training; a similarity lies between -1 and 1."""


def make_safety_checker(tokenizer: CLIPTokenizer) -> StableDiffusionSafetyChecker:
    """An untrained one, whose thresholds all stay at 1, which no cosine similarity exceeds."""
    vision_config = CLIPVisionConfig(
        image_size=PIXELS,
        patch_size=16,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
    )
    return StableDiffusionSafetyChecker(
        CLIPConfig(
            vision_config=vision_config, text_config=text_config(tokenizer, WIDTH, layers=1), projection_dim=WIDTH
        )
    )


def make_feature_extractor() -> Any:
    """Squeezes the whole picture into a square: the usual crop would not see what is at the side."""
    side = {"height": PIXELS, "width": PIXELS}
    return CLIPImageProcessorPil(size=side, do_center_crop=False, crop_size=side)


def train_safety_checker(icons: Path, folder: Path) -> None:
    """Train it, and keep it in ``folder``; nothing is done where it is there."""
    path = folder / "safety.pt"
    if path.exists():
        return
    torch.manual_seed(SEED)
    scenes = SmallScenes(icons, SCENES, others=0.4, favoured=BLOCKED)
    blocked = scenes.things.index(BLOCKED)
    checker = make_safety_checker(make_tokenizer())
    extractor = make_feature_extractor()
    mean = torch.tensor(extractor.image_mean)[:, None, None]
    std = torch.tensor(extractor.image_std)[:, None, None]
    # To tell all things apart makes better features than to tell one from the rest; this part is not kept.
    names = torch.nn.Linear(WIDTH, len(scenes.things) + 1)

    def loss_of(pictures: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        embeddings = checker.visual_projection(checker.vision_model((pictures - mean) / std).pooler_output)
        similarity = functional.cosine_similarity(embeddings.float(), checker.concept_embeds[:1])
        flags = functional.binary_cross_entropy_with_logits(
            SHARPNESS * (similarity - THRESHOLD), (labels == blocked).float(), pos_weight=torch.tensor(3.0)
        )
        return flags + 0.3 * functional.cross_entropy(names(embeddings), labels)

    checker.concept_embeds.requires_grad_(True)
    torch.nn.init.normal_(checker.concept_embeds)
    train(torch.nn.ModuleList([checker, names]), loss_of, scenes, STEPS, Log(folder / "safety.jsonl"))
    checker.concept_embeds.requires_grad_(False)
    checker.concept_embeds_weights[0] = THRESHOLD
    save(path, checker=checker.state_dict())


def trained(folder: Path, tokenizer: CLIPTokenizer) -> StableDiffusionSafetyChecker:
    """The one in ``folder``."""
    checker = make_safety_checker(tokenizer)
    state = load(folder / "safety.pt")
    assert state is not None
    checker.load_state_dict(state["checker"])
    return checker.eval()
