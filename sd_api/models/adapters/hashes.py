"""The hashes by which other programs know LoRAs, embeddings, autoencoders and ControlNets; knows no torch."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from safetensors import safe_open

from sd_api.generation.operation import Operation
from sd_api.generation.prompted import PROMPTS
from sd_api.models.adapters.control_files import find_control
from sd_api.models.adapters.embedding_files import named_files, named_in
from sd_api.models.adapters.hub_loras import loras_here
from sd_api.models.folders import VAE, FoundFile, ModelFolders

# Digits that AUTOMATIC1111's web UI writes of a LoRA or an embedding, of a model's file and of a ControlNet.
ADAPTER_DIGITS, FILE_DIGITS, CONTROL_DIGITS = 12, 10, 8

# Where in a ControlNet's file the bytes are that its hash is computed of.
_PART_BEGIN, _PART_SIZE = 0x100000, 0x10000


def written_hashes(folders: ModelFolders, operation: Operation) -> dict[str, str]:
    """What a picture's parameters say of the files that took part, in the form of AUTOMATIC1111's web UI.

    Args:
        folders: Where the files are.
        operation: What was asked for; its alternatives have been chosen.
    """
    pairs = {"Lora hashes": ", ".join(_lora_hashes(folders, operation)), "TI hashes": ""}
    if operation.prompt_syntax != "plain":
        text = "\n".join(getattr(operation, name) for name in PROMPTS)
        named = named_in(text, named_files(folders))
        hashes = {file.name.rpartition("/")[2]: content_hash(file) for file in named.values()}
        pairs["TI hashes"] = ", ".join(f"{name}: {found[:ADAPTER_DIGITS]}" for name, found in hashes.items() if found)
    vae = None if operation.vae is None else folders.find(VAE, operation.vae)
    pairs["VAE hash"] = content_hash(vae)[:FILE_DIGITS] if vae is not None else ""
    for number, control in enumerate(operation.controls):
        file = find_control(folders, control.model)
        if file is not None and (found := part_hash(file)):
            name = file.name.rpartition("/")[2]
            pairs[f"ControlNet {number}"] = replace(control, model=f"{name} [{found[:CONTROL_DIGITS]}]").text()
    return {key: value for key, value in pairs.items() if value}


def _lora_hashes(folders: ModelFolders, operation: Operation) -> Iterator[str]:
    for name, file in loras_here(folders, operation).items():
        if found := lora_hash(file):
            yield f"{name}: {found[:ADAPTER_DIGITS]}"


@lru_cache(maxsize=4096)
def lora_hash(file: FoundFile) -> str:
    """SHA-256 of the weights in a LoRA's file, as its metadata has it or computed; empty where it cannot be read.

    The header is left out, because programs that change the metadata must not change the hash.
    """
    try:
        with safe_open(file.path, framework="numpy") as tensors:
            said = str((tensors.metadata() or {}).get("sshs_model_hash", ""))
        if said.isalnum():
            return said.lower()
        with file.path.open("rb") as stream:
            stream.seek(8 + int.from_bytes(stream.read(8), "little"))
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except Exception:
        # The picture is made all the same.
        return ""


@lru_cache(maxsize=4096)
def part_hash(file: FoundFile) -> str:
    """SHA-256 of the 64 KiB behind the first MiB of a file, the web UI's old hash; empty where ``content_hash`` is."""
    try:
        with file.path.open("rb") as stream:
            stream.seek(_PART_BEGIN)
            return hashlib.sha256(stream.read(_PART_SIZE)).hexdigest()
    except OSError:
        return ""


@lru_cache(maxsize=4096)
def content_hash(file: FoundFile) -> str:
    """SHA-256 of a file; empty for a folder, and where it cannot be read."""
    try:
        with file.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""
