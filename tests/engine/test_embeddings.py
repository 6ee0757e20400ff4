"""Textual inversion acts as in diffusers' own pipeline, by the names of the files, and leaves no trace."""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_families import sd, sdxl
from tiny_model import TEXT_WIDTH

from sd_api.engine.diffusion import denoise
from sd_api.generation.operations import TextToImage
from sd_api.generation.spec import PictureSeeds
from sd_api.models.adapters import embeddings
from sd_api.models.components import Parts
from sd_api.models.families.registry import family_of
from sd_api.models.folders import EMBEDDING, ModelFolders
from sd_api.models.schedulers import make_scheduler
from sd_api.models.state_dict import WeightFile
from sd_api.settings import Limits

LIMITS = Limits()
STEPS, GUIDANCE, SEED = 2, 5.0, 5
MODELS = {"sd": sd, "sdxl": sdxl}


@cache
def pipeline_of(name: str) -> Any:
    made = MODELS[name]()
    made.set_progress_bar_config(disable=True)
    return made


def vectors(count: int, seed: int = 1) -> torch.Tensor:
    return torch.randn((count, TEXT_WIDTH), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("embeddings")
    save_file({"emb_params": vectors(2)}, path / "Dotty-Style.safetensors")
    save_file({"<blot>": vectors(1, 2)[0]}, path / "blot.safetensors")
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": vectors(3, 3)}, "name": "odd"}, path / "old.pt")
    save_file({"clip_l": vectors(2, 4), "clip_g": vectors(2, 5)}, path / "both.safetensors")
    save_file({"emb_params": torch.zeros(2, 7)}, path / "narrow.safetensors")
    (path / "broken.pt").write_bytes(b"nothing")
    return path


@cache
def model(name: str, folder: Path) -> Parts:
    return Parts(pipeline_of(name), torch.device("cpu"), lambda _: None, folders=ModelFolders({EMBEDDING: [folder]}))


def asked(prompt: str, **changes: Any) -> TextToImage:
    fields: dict[str, Any] = {"negative_prompt": "blue", "steps": STEPS, "guidance": GUIDANCE, "scheduler": "euler"}
    return TextToImage(prompt=prompt, width=64, height=64, limits=LIMITS, **fields | changes)


def ours(parts: Parts, prompt: str, **changes: Any) -> torch.Tensor:
    family, operation = family_of(parts.pipeline), asked(prompt, **changes)
    with torch.inference_mode():
        row = family.start(parts, operation, PictureSeeds(seed=SEED), (64, 64), family.encode(parts, operation))
    latents = denoise(family, parts, row).latents
    assert latents is not None
    return latents


def by_hand(name: str, prompt: str, words: Mapping[str, tuple[torch.Tensor, ...]]) -> torch.Tensor:
    """The latents of a pipeline of its own that has learned some words, for each of its text encoders."""
    pipeline = deepcopy(pipeline_of(name))
    pipeline.scheduler = make_scheduler("euler", pipeline.scheduler)
    if name == "sdxl":
        # The tiny model's two are one.
        pipeline.tokenizer_2 = deepcopy(pipeline.tokenizer_2)
    for word, of_encoders in words.items():
        for number, tensor in enumerate(of_encoders):
            end = f"_{number + 1}" if number else ""
            encoder, tokenizer = getattr(pipeline, f"text_encoder{end}"), getattr(pipeline, f"tokenizer{end}")
            pipeline.load_textual_inversion(tensor, token=word, text_encoder=encoder, tokenizer=tokenizer)
    latents: torch.Tensor = pipeline(
        prompt,
        negative_prompt="blue",
        width=64,
        height=64,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=torch.Generator("cpu").manual_seed(SEED),
        output_type="latent",
    ).images
    return latents


def test_words_act_as_in_diffusers_and_are_forgotten(folder: Path) -> None:
    parts = model("sd", folder)
    plain = ours(parts, "a dog")
    words = {"dotty-style": (vectors(2),), "blot": (vectors(1, 2),), "old": (vectors(3, 3),)}
    expected = by_hand("sd", "a dog dotty-style blot old", words)
    assert torch.equal(ours(parts, "a dog Dotty-Style blot OLD"), expected)
    assert (expected - plain).abs().max() > 0.01 * plain.abs().max()
    assert torch.equal(ours(parts, "a dog"), plain)
    unknown = Parts(pipeline_of("sd"), torch.device("cpu"), lambda _: None)
    for prompt in ("a dog blots", "a dog old"):
        same = torch.equal(ours(parts, prompt, prompt_syntax="full"), ours(unknown, prompt))
        assert same == (prompt == "a dog blots")
        assert torch.equal(ours(parts, prompt, prompt_syntax="plain"), ours(unknown, prompt))
    assert not torch.equal(ours(parts, "a dog (blot:1.5)"), ours(parts, "a dog blot"))
    assert not parts.pipeline.text_encoder.get_input_embeddings()._forward_hooks


def test_both_text_encoders_of_sdxl_have_vectors_of_their_own(folder: Path) -> None:
    expected = by_hand("sdxl", "a dog both", {"both": (vectors(2, 4), vectors(2, 5))})
    assert torch.equal(ours(model("sdxl", folder), "a dog both"), expected)


def test_what_does_not_fit_is_a_word_and_said(folder: Path) -> None:
    parts = model("sd", folder)
    unknown = Parts(pipeline_of("sd"), torch.device("cpu"), lambda _: None)
    prompt = "a narrow broken both dog"
    warnings = list(family_of(parts.pipeline).warnings(parts, asked(prompt)))
    assert [warning.split()[1] for warning in warnings] == ["both", "broken", "narrow"]
    assert "another architecture" in warnings[0]
    assert "damaged" in warnings[1]
    assert torch.equal(ours(parts, prompt), ours(unknown, prompt))


def test_an_embedding_is_not_cut_in_two(folder: Path) -> None:
    before = " ".join("x" * 74)
    parts = model("sd", folder)
    assert torch.equal(ours(parts, f"{before} old y"), ours(parts, f"{before} BREAK old y"))


def test_a_file_that_is_refused_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []

    def read(path: Path) -> WeightFile:
        reads.append(path)
        return WeightFile(path)

    monkeypatch.setattr(embeddings, "WeightFile", read)
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    for _ in range(3):
        folders = ModelFolders({EMBEDDING: [tmp_path]})
        ours(Parts(pipeline_of("sd"), torch.device("cpu"), lambda _: None, folders=folders), "a bad dog")
    assert len(reads) == 1
