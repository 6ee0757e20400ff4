"""Models that were made to do harm, or are damaged: the check and the loader refuse them alike, and name the file."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file
from tiny_model import tiny_model

from sd_api.errors import ModelUnavailable
from sd_api.models.check import find_further_faults
from sd_api.models.device import DeviceChoice, choose_device
from sd_api.models.files import find_source_faults
from sd_api.models.loader import load_pipeline
from sd_api.models.sources import ModelDirectory
from sd_api.settings import Limits, Settings

UNET = "unet/diffusion_pytorch_model.safetensors"
INDEX = "model_index.json"


def changed(name: str, **changes: Any) -> Callable[[Path], None]:
    """Change keys of a JSON file."""

    def change(model: Path) -> None:
        content = json.loads((model / name).read_text(encoding="utf-8"))
        (model / name).write_text(json.dumps(content | changes), encoding="utf-8")

    return change


def written(name: str, content: bytes) -> Callable[[Path], None]:
    def write(model: Path) -> None:
        (model / name).unlink(missing_ok=True)
        (model / name).write_bytes(content)

    return write


def linked(name: str, target: str) -> Callable[[Path], None]:
    def link(model: Path) -> None:
        outside = model.parent / "outside"
        shutil.copytree(model, outside)
        if (model / name).is_dir():
            shutil.rmtree(model / name)
        else:
            (model / name).unlink()
        (model / name).symlink_to(target.format(outside=outside))

    return link


def sharded(shard: str, **others: Any) -> Callable[[Path], None]:
    index = {"metadata": {}, "weight_map": {"a": shard}} | others
    return written(f"{UNET}.index.json", json.dumps(index).encode())


def piped(model: Path) -> None:
    (model / "unet" / "config.json").unlink()
    os.mkfifo(model / "unet" / "config.json")


def safetensors(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def tensor(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def described(**tensors: dict[str, Any]) -> Callable[[Path], None]:
    return written(UNET, safetensors(json.dumps(tensors).encode(), b"\0" * 16))


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    # What the index names
    "a module": (changed(INDEX, unet=["os", "system"]), "its unet is of os.system; only classes of"),
    "a submodule": (changed(INDEX, unet=["os.path", "join"]), "which is no name of a class"),
    "a dotted class": (changed(INDEX, unet=["diffusers", "utils.os"]), "which is no name of a class"),
    "a dunder": (changed(INDEX, unet=["diffusers", "__builtins__"]), "which is no name of a class"),
    "no class": (changed(INDEX, unet=["diffusers", "utils"]), "which is no model, scheduler, tokenizer or"),
    "a function": (changed(INDEX, vae=["transformers", "pipeline"]), "which is no model, scheduler, tokenizer or"),
    "a class of no part": (changed(INDEX, vae=["transformers", "Trainer"]), "which is no model, scheduler, tokeni"),
    "a class by configuration": (changed(INDEX, text_encoder=["transformers", "AutoModel"]), "its text_encoder is of"),
    "a pipeline inside": (changed(INDEX, unet=["diffusers", "StableDiffusionPipeline"]), "which is no model"),
    "a pipeline's module": (changed(INDEX, unet=["stable_diffusion", "np"]), "which is no model, scheduler"),
    "the filter": (changed(INDEX, safety_checker=["subprocess", "Popen"]), "its safety_checker is of subprocess.Popen"),
    "an unknown part": (changed(INDEX, extra=["antigravity", "fly"]), "its extra is of antigravity.fly"),
    "no list of two": (changed(INDEX, unet=["diffusers", "UNet2DConditionModel", "os"]), "should be a library and"),
    "lists inside": (changed(INDEX, unet=[["diffusers"], "UNet2DConditionModel"]), "should be a library and a class"),
    "a half entry": (changed(INDEX, unet=["diffusers", None]), "its unet should be a library and a class"),
    "an empty entry": (changed(INDEX, unet=[]), "its unet should be a library and a class"),
    "no part at all": (changed(INDEX, unet=[None, None]), "it names no unet, which a StableDiffusionPipeline needs"),
    "a part elsewhere": (changed(INDEX, **{"../unet": ["diffusers", "UNet2DConditionModel"]}), "is no name of a part"),
    "a pipeline with dots": (changed(INDEX, _class_name="os.system"), "is a model for os.system, which this server"),
    "a pipeline of its own": (changed(INDEX, _class_name=["mine", "Mine"]), "needs Python code of its own"),
    "a pipeline's code": (changed(INDEX, custom_pipeline="mine"), "needs Python code of its own"),
    "line breaks": (changed(INDEX, _class_name="a\nb\x1b[2J" + "c" * 10**6), "is a model for a?b?[2Jccc"),
    # What configurations name
    "code": (
        changed("text_encoder/config.json", auto_map={"AutoModel": "mine.Mine"}),
        "its auto_map names Python code",
    ),
    "code of a tokenizer": (
        changed("tokenizer/tokenizer_config.json", auto_map={"a": ["b", None]}),
        "its auto_map nam",
    ),
    "trust": (changed("unet/config.json", trust_remote_code=True), "its trust_remote_code names Python code"),
    "a kernel": (changed("text_encoder/config.json", attn_implementation="evil/kernel"), "names code to download"),
    "a kernel inside": (
        changed("safety_checker/config.json", vision_config={"_attn_implementation": {"": "evil/kernel@main"}}),
        "its _attn_implementation names code to download",
    ),
    "other weights": (changed("text_encoder/config.json", transformers_weights="adapter_model.bin"), "another file"),
    "another vocabulary": (
        changed("tokenizer/tokenizer_config.json", vocab_file="/dev/zero"),
        "its vocab_file names a",
    ),
    "quantized": (changed("unet/config.json", quantization_config={"quant_method": "gguf"}), "weights are quantized"),
    "endless labels": (changed("text_encoder/config.json", num_labels=10**6), "its num_labels is 1000000, and 30,000"),
    "an addition": (written("text_encoder/adapter_config.json", b"{}"), "additions to a part are not loaded"),
    "endless steps": (changed("scheduler/scheduler_config.json", num_train_timesteps=10**12), "1,000,000 is the most"),
    "endless positions": (
        changed("text_encoder/config.json", max_position_embeddings=10**10),
        "20,000,000 is the",
    ),
    "endless layers": (
        changed("safety_checker/config.json", vision_config={"num_hidden_layers": 10**6}),
        "1,000 is the",
    ),
    "endless blocks": (changed("unet/config.json", down_block_types=["DownBlock2D"] * 10**5), "1,000 are the most"),
    "code of a processor": (written("tokenizer/processor_config.json", b'{"auto_map": {"a": "b.C"}}'), "its auto_map"),
    "another encoding": (written("unet/config.json", '{"a": 1}'.encode("utf-16")), "it is not UTF-8 text"),
    "a mark of an encoding": (written("unet/config.json", b'\xef\xbb\xbf{"a": 1}'), "not valid JSON"),
    # Bounds of JSON
    "deep": (written("unet/config.json", b'{"a":' * 30_000 + b"1" + b"}" * 30_000), "more than 32 levels deep"),
    "rather deep": (written("unet/config.json", b'{"a":' * 40 + b"1" + b"}" * 40), "more than 32 levels deep"),
    "large": (written("unet/config.json", b'{"a": "' + b"b" * 5_000_000 + b'"}'), "bytes, and such a file has at most"),
    "many values": (written("tokenizer/tokenizer.json", b'{"a":[' + b"[]," * 3_000_000), "more than 5,000,000 values"),
    "a long number": (written("unet/config.json", b'{"a": ' + b"9" * 5000 + b"}"), "a number has too many digits"),
    # Where files are
    "a shard above": (sharded("../vae/diffusion_pytorch_model.safetensors"), "is no name of a .safetensors file in"),
    "a shard anywhere": (sharded("/etc/passwd"), "is no name of a .safetensors file in its folder"),
    "a shard of Windows": (sharded("..\\vae\\model.safetensors"), "is no name of a .safetensors file in its folder"),
    "a shard on a drive": (sharded("C:model.safetensors"), "is no name of a .safetensors file in its folder"),
    "a shard with NUL": (sharded("a\0.safetensors"), "is no name of a .safetensors file in its folder"),
    "a pickled shard": (sharded("diffusion_pytorch_model.bin"), "is no name of a .safetensors file in its folder"),
    "shards of no list": (sharded("a", weight_map=["a"]), "it lists no files"),
    "a link away": (linked(UNET, "{outside}/" + UNET), "a link that leaves the model's folder"),
    "a link up": (linked("unet/config.json", "../../outside/unet/config.json"), "a link that leaves the model's"),
    "a folder's link": (linked("unet", "{outside}/unet"), "a link that leaves the model's folder"),
    "an index's link": (linked(INDEX, "{outside}/model_index.json"), "a link that leaves the model's folder"),
    "a device": (linked("tokenizer/merges.txt", "/dev/zero"), "a link that leaves the model's folder"),
    "a pipe": (piped, "neither a file nor a folder"),
    # Headers of weights
    "overlapping": (described(a=tensor(0, 16, [4]), b=tensor(8, 16, [2])), "cut short or damaged (invalid offset"),
    "outside": (described(a=tensor(0, 1000, [250])), "cut short or damaged"),
    "backwards": (described(a=tensor(16, 0, [4])), "cut short or damaged"),
    "of another size": (described(a=tensor(0, 16, [5])), "cut short or damaged"),
    "of overflowing size": (described(a=tensor(0, 16, [2**62, 4])), "cut short or damaged"),
    "of no type": (described(a=tensor(0, 16, [4], "X7")), "cut short or damaged"),
    "a deep header": (written(UNET, safetensors(b'{"a":' * 100_000)), "cut short or damaged"),
    "a long header": (written(UNET, safetensors(b" " * (16 * 1024**2 + 1))), "its header has 16,777,217 bytes"),
    "no tensor": (written(UNET, safetensors(b"{}")), "it holds no weights"),
    "many tensors": (written(UNET, safetensors(b'{"a":{},' * 200_000)), "more than 100,000 tensors"),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model(), tmp_path / "model")


@pytest.fixture(scope="module")
def device() -> DeviceChoice:
    return choose_device("cpu", "fp32")


@pytest.mark.parametrize("case", HOSTILE)
def test_the_check_and_the_loader_refuse_it_alike(model: Path, device: DeviceChoice, case: str) -> None:
    harm, reason = HOSTILE[case]
    harm(model)
    faults = find_source_faults(model)
    assert any(reason in fault for fault in faults), faults
    assert all(fault.startswith(str(model)) and len(fault) < 600 and fault.isprintable() for fault in faults)
    with pytest.raises(ModelUnavailable) as refusal:
        load_pipeline(ModelDirectory(model), device, None, Limits())
    assert refusal.value.message == f"The model cannot be loaded: {'; '.join(faults)}."


TEXTS, NETWORK, IMAGES = "text_encoder/config.json", "unet/config.json", "vae/config.json"
TOKENS, STEPS = "tokenizer/tokenizer_config.json", "scheduler/scheduler_config.json"
CLAIMS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a vocabulary of millions": (changed(TEXTS, vocab_size=19_000_000), f"{TEXTS}: it claims many times what"),
    "many layers": (changed(TEXTS, num_hidden_layers=900), f"{TEXTS}: it claims many times what the weights have"),
    "a layer too many": (changed(TEXTS, num_hidden_layers=3), f"{TEXTS}: it claims weights that the files do not hav"),
    "a word for a size": (changed(TEXTS, vocab_size="514"), f"{TEXTS}: no CLIPTextModel can be made of it: "),
    "channels of millions": (changed(IMAGES, latent_channels=10**7), f"{IMAGES}: it claims many times what the weight"),
    "another width": (changed(NETWORK, in_channels=5), f"{NETWORK}: it claims 32 × 5 × 3 × 3 numbers for conv_in.weig"),
    "groups of none": (changed(NETWORK, norm_num_groups=0), f"{NETWORK}: no UNet2DConditionModel can be made of it"),
    "fewer than no groups": (changed(NETWORK, norm_num_groups=-1), f"{NETWORK}: its norm_num_groups is -1, and should"),
    "words for channels": (changed(NETWORK, block_out_channels=["a"]), f"{NETWORK}: its block_out_channels is 'a', an"),
    "no number": (changed(IMAGES, scaling_factor=float("nan")), f"{IMAGES}: its scaling_factor is 'nan', and should"),
    "no steps": (changed(STEPS, num_train_timesteps=0), f"{STEPS}: no PNDMScheduler can be made of it: IndexError: "),
    "fewer than no steps": (changed(STEPS, num_train_timesteps=-1), f"{STEPS}: its num_train_timesteps is -1, and "),
    "too much noise": (changed(STEPS, beta_start=5.0), f"{STEPS}: its numbers make no noise schedule"),
    "an unknown prediction": (changed(STEPS, prediction_type="x"), f"{STEPS}: no PNDMScheduler can be made of it: Va"),
    "tokens of no text": (changed("tokenizer/special_tokens_map.json", bos_token=["a"]), "Special token bos_token has"),
    "long prompts": (changed(TOKENS, model_max_length=10**7), f"{TOKENS}: its model_max_length is 10000000; the text"),
    "another class": (changed(INDEX, text_encoder=["transformers", "T5EncoderModel"]), f"{TEXTS}: it claims weights"),
}


@pytest.mark.parametrize("case", CLAIMS)
def test_what_the_weights_do_not_bear_out_is_refused_by_both_before_it_takes_memory(
    model: Path, device: DeviceChoice, case: str
) -> None:
    harm, reason = CLAIMS[case]
    harm(model)
    before = psutil.Process().memory_info().rss
    (fault,) = find_further_faults(Settings.model_validate({"model": str(model), "device": "cpu", "dtype": "fp32"}))
    assert fault.startswith(f"model: {model}/")
    assert reason in fault
    assert len(fault) < 600
    assert fault.isprintable()
    with pytest.raises(ModelUnavailable) as refusal:
        load_pipeline(ModelDirectory(model), device, None, Limits())
    assert refusal.value.message == f"The model cannot be loaded: {fault.removeprefix('model: ')}."
    assert psutil.Process().memory_info().rss - before < 100 * 1024**2


def test_a_pickle_in_a_models_folder_is_refused_by_both_and_the_next_model_loads(
    model: Path, device: DeviceChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(model / "owned"),)

    pickled = (model / UNET).with_suffix(".bin")
    torch.save({**load_file(model / UNET), "evil": Evil()}, pickled)
    (model / UNET).unlink()
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("this process reads no pickle"))
    reason = f"{pickled} was refused: beside its weights it holds Python code (posix.mkdir)"
    settings = Settings.model_validate({"model": str(model), "device": "cpu", "dtype": "fp32"})
    (fault,) = find_further_faults(settings)
    assert fault.startswith(f"model: {reason}")
    with pytest.raises(ModelUnavailable) as refusal:
        load_pipeline(ModelDirectory(model), device, None, Limits())
    assert refusal.value.message.startswith(reason)
    assert not (model / "owned").exists()
    assert load_pipeline(ModelDirectory(tiny_model()), device, None, Limits()).unet


def test_links_inside_the_hubs_cache_are_its_own(model: Path, tmp_path: Path) -> None:
    blobs = tmp_path / "models--demo--tiny" / "blobs"
    snapshot = blobs.parent / "snapshots" / ("0" * 40)
    blobs.mkdir(parents=True)
    for number, file in enumerate(sorted(path for path in model.rglob("*") if path.is_file())):
        place = snapshot / file.relative_to(model)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(blobs / str(number))
        place.symlink_to(os.path.relpath(blobs / str(number), place.parent))
    assert find_source_faults(snapshot) == []


def test_the_words_of_the_first_models_are_understood(model: Path) -> None:
    changed(INDEX, feature_extractor=["transformers", "CLIPFeatureExtractor"])(model)
    changed("tokenizer/tokenizer_config.json", special_tokens_map_file="./special_tokens_map.json")(model)
    assert find_source_faults(model) == []
