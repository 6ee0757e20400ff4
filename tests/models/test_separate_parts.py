"""Parts that the configuration gives to a model: text encoders of GGUF, pickled folders of autoencoders."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_pipelines import weights, write_pipeline

from sd_api.errors import ModelUnavailable
from sd_api.models.bounded_files import read_object
from sd_api.models.pipeline_files import parts
from sd_api.models.precision import Precision
from sd_api.models.separate_parts import separate_parts
from sd_api.models.sources import MODEL_INDEX
from sd_api.settings import Limits, ModelSettings

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline("flux", tmp_path_factory.mktemp("flux"))


def given(folder: Path, **settings: Any) -> dict[str, Any]:
    entries = dict(parts(read_object(folder / MODEL_INDEX)))
    return separate_parts(ModelSettings(**settings), folder, entries, Precision(torch.float32), None, Limits())


# What llama.cpp calls the layers of T5's encoder, by transformers' names.
T5_NAMES = {
    "shared": "token_embd",
    "encoder.embed_tokens": None,
    "SelfAttention.q": "attn_q",
    "SelfAttention.k": "attn_k",
    "SelfAttention.v": "attn_v",
    "SelfAttention.o": "attn_o",
    "SelfAttention.relative_attention_bias": "attn_rel_b",
    "layer.0.layer_norm": "attn_norm",
    "DenseReluDense.wi": "ffn_up",
    "DenseReluDense.wo": "ffn_down",
    "layer.1.layer_norm": "ffn_norm",
    "encoder.final_layer_norm": "enc.output_norm",
}


def llama_name(name: str) -> str | None:
    plain = name.removesuffix(".weight")
    if plain in T5_NAMES:
        own = T5_NAMES[plain]
        return own and f"{own}.weight"
    block = plain.split(".")[2]
    return next(f"enc.blk.{block}.{own}.weight" for part, own in T5_NAMES.items() if plain.endswith(part))


def write_gguf(path: Path, architecture: str) -> str:
    writer = gguf.GGUFWriter(path, architecture)
    for name, tensor in weights("flux").text_encoder_2.state_dict().items():
        if (own := llama_name(name)) is not None:
            writer.add_tensor(own, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


def test_a_text_encoder_of_gguf_is_that_of_its_model(folder: Path, tmp_path: Path) -> None:
    found = given(folder, text_encoders=[write_gguf(tmp_path / "t5.gguf", "t5encoder")])
    expected = weights("flux").text_encoder_2.state_dict()
    assert list(found) == ["text_encoder_2"]
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found["text_encoder_2"].state_dict().items())
    with pytest.raises(ModelUnavailable, match="is no GGUF of a T5EncoderModel"):
        given(folder, text_encoders=[write_gguf(tmp_path / "other.gguf", "no-such")])


def test_a_text_encoder_may_be_in_several_files(folder: Path, tmp_path: Path) -> None:
    encoder = weights("flux").text_encoder_2
    encoder.save_pretrained(place := tmp_path / "t5", max_shard_size="10KB")
    first, *others = sorted(place.glob("*.safetensors"))
    assert len(others) > 1
    for index in (True, False):
        (found,) = given(folder, text_encoders=[str(place)]).values()
        assert all(torch.equal(tensor, encoder.state_dict()[name]) for name, tensor in found.state_dict().items())
        if index:
            (place / "model.safetensors.index.json").rename(tmp_path / "index.json")
    (tmp_path / "index.json").rename(place / "model.safetensors.index.json")
    others[0].unlink()
    for wrong, reason in (
        (place, f"{others[0]}: this file is missing, and model.safetensors.index.json lists it"),
        (first, f"is one of {len(others) + 1} files; name the folder that has them all"),
        (folder, "is a whole model; name the folder of one of its text encoders"),
    ):
        with pytest.raises(ModelUnavailable, match=re.escape(reason)):
            given(folder, text_encoders=[str(wrong)])


def test_a_pickled_folder_of_an_autoencoder_is_converted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    vae = weights("flux").vae
    vae.save_pretrained(tmp_path / "vae", safe_serialization=False)
    assert (tmp_path / "vae" / "diffusion_pytorch_model.bin").is_file()
    (found,) = given(folder, vae=str(tmp_path / "vae")).values()
    assert all(torch.equal(tensor, vae.state_dict()[name]) for name, tensor in found.state_dict().items())
