"""The text encoder's first training, without pictures."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from . import text
from .captions import caption
from .things import COLOURS, THINGS
from .training import SEED, Log, learning_rate, load, save


def pretrain(folder: Path, steps: int = 400) -> None:
    """Teach it to tell captions' things and colours apart, at every position behind the caption.

    The UNet then finds them wherever it looks. Without this, it takes tens of thousands of pictures until the text
    says anything that helps, and only then do both begin to learn from each other.
    """
    path = folder / "text_encoder.pt"
    if path.exists():
        return
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    tokenizer = text.make_tokenizer()
    model = text.make_text_encoder(tokenizer)
    things, colours = [*THINGS, None], list(COLOURS)
    heads = nn.ModuleList([nn.Linear(text.WIDTH, len(things)), nn.Linear(text.WIDTH, len(colours) + 1)])
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01, fused=True)
    log, losses = Log(folder / "text_encoder.jsonl"), []
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step / steps, 1e-3)
        shown = [(int(rng.integers(len(things))), int(rng.integers(len(colours)))) for _ in range(64)]
        captions = [caption(rng, things[thing], colours[colour]) for thing, colour in shown]
        ids = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        said = [
            (thing if things[thing] and str(things[thing]) in words else len(things) - 1, _colour_in(words, colour))
            for words, (thing, colour) in zip(captions, shown, strict=True)
        ]
        states = model(ids).last_hidden_state
        behind = (ids == tokenizer.eos_token_id).unsqueeze(-1)
        mean = (states * behind).sum(1) / behind.sum(1)
        anywhere = states[torch.arange(64), torch.randint(40, text.POSITIONS, (64,))]
        targets = torch.tensor(said).T
        loss = sum(
            (
                functional.cross_entropy(head(seen), target)
                for seen in (mean, anywhere)
                for head, target in zip(heads, targets, strict=True)
            ),
            start=torch.zeros(()),
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 100 == 0:
            log.write(step=step, loss=float(np.mean(losses)))
            losses = []
    save(path, model=model.state_dict())


def pretrained(folder: Path, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """What ``pretrain`` wrote, to be trained on with the UNet."""
    model = text.make_text_encoder(tokenizer)
    state = load(folder / "text_encoder.pt")
    assert state is not None
    model.load_state_dict(state["model"])
    return model


def _colour_in(words: str, colour: int) -> int:
    """The colour's number where the caption names it, else the number after the last."""
    return colour if list(COLOURS)[colour] in words else len(COLOURS)
