"""Makes the built-in model, from drawings to the directory that the server loads; each step can be run alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import click
import torch
from diffusers import StableDiffusionPipeline

from sd_api.allocator import keep_freed_memory

from . import autoencoder, classifier, control, emphasis, evaluate, icons, latents, safety, text_training, unet
from .export import export, restore
from .sheet import make_sheet

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "builtin_model"
ICONS = WORK / "icons.json"
MODEL = ROOT / "sd_api" / "models" / "builtin"
ADAPTER = ROOT / "tests" / "models" / "edge_adapter"
CLASSIFIER = ROOT / "tests" / "models" / "thing_classifier"
LOG = Path(__file__).parent / "log"
SHEET = ROOT / "docs" / "pictures" / "builtin.png"


@click.group()
def main() -> None:
    """Make the built-in model. What is interrupted goes on where it was; what is done is not done again."""
    keep_freed_memory()
    icons.fetch_icons(ICONS)


@main.command("autoencoder")
@click.option("--minutes", default=20.0, help="How long it is trained altogether.")
def autoencoder_command(minutes: float) -> None:
    """Train the autoencoder, and encode what the UNet learns from."""
    autoencoder.train_autoencoder(ICONS, WORK, minutes)
    latents.encode_patches(ICONS, WORK, autoencoder.trained(WORK))


@main.command("unet")
@click.option("--minutes", default=240.0, help="How long it is trained altogether.")
def unet_command(minutes: float) -> None:
    """Train the text encoder alone, and then the UNet with it."""
    text_training.pretrain(WORK)
    canvases = latents.Canvases(WORK, autoencoder.trained(WORK))
    unet.Trainer(WORK, canvases, minutes).run()


@main.command("decoder")
@click.option("--minutes", default=15.0, help="How long it is trained altogether.")
def decoder_command(minutes: float) -> None:
    """Train the decoder on, for latents that the UNet makes."""
    autoencoder.train_decoder(ICONS, WORK, minutes)


@main.command("recognition")
def recognition_command() -> None:
    """Train the safety checker, and the classifier that judges pictures."""
    safety.train_safety_checker(ICONS, WORK)
    classifier.train_classifier(ICONS, WORK, CLASSIFIER)


@main.command("control")
@click.option("--minutes", default=60.0, help="How long it is trained altogether.")
@click.option("--examples", default=3000, help="How many pictures it learns from.")
@click.option("--out", default=ADAPTER, type=click.Path(path_type=Path, file_okay=False))
def control_command(minutes: float, examples: int, out: Path) -> None:
    """Train the adapter for edges, for the model's directory as it is."""
    model: Any = StableDiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32, safety_checker=None)
    control.draw_examples(ICONS, WORK, model.vae, examples)
    control.Trainer(WORK, MODEL, minutes).run()
    control.export(WORK, out)


@main.command("export")
@click.option("--out", default=MODEL, type=click.Path(path_type=Path, file_okay=False))
def export_command(out: Path) -> None:
    """Write the model's directory, and keep the log of how it came about."""
    export(WORK, out)
    LOG.mkdir(exist_ok=True)
    for log in WORK.glob("*.jsonl"):
        shutil.copy(log, LOG)


@main.command("restore")
def restore_command() -> None:
    """Take the model's directory for the checkpoint, to train on without the files of the run that made it."""
    restore(MODEL, WORK)
    latents.encode_patches(ICONS, WORK, autoencoder.trained(WORK))


@main.command("evaluate")
@click.option("--per-thing", default=3, help="Pictures of each thing.")
def evaluate_command(per_thing: int) -> None:
    """Print figures, and keep the pictures that they are of."""
    figures = {
        **evaluate.evaluate_autoencoder(MODEL, ICONS),
        **evaluate.evaluate_checker(MODEL, ICONS, count=1000),
        **evaluate.evaluate_pictures(MODEL, CLASSIFIER, per_thing, WORK / "pictures"),
    }
    text = json.dumps(figures, indent=2)
    (LOG / "evaluation.json").write_text(text + "\n", encoding="utf-8")
    click.echo(text)


@main.command("sheet")
def sheet_command() -> None:
    """Draw the README's picture sheet."""
    make_sheet(MODEL, SHEET)


@main.command("all")
@click.pass_context
def all_command(context: click.Context) -> None:
    """Everything, in order, with the default options."""
    training = (autoencoder_command, unet_command, decoder_command, recognition_command)
    for command in (*training, export_command, emphasis.main, evaluate_command, sheet_command):
        context.invoke(command)


if __name__ == "__main__":
    main()
