"""Tries whether the parts of a model draw together, by the shapes of their tensors alone.

Numbers in configurations that make no weight, such as those of attention heads, and parts that were made for other
ones fail only within a picture. So one is drawn whose networks have neither weights nor numbers: as the family draws
it, with the smallest size, one step and a few layers.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from transformers import PreTrainedModel, T5PreTrainedModel

from sd_api.errors import ServerError
from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.images import ImageRef
from sd_api.generation.operation import MIN_SIDE, Operation
from sd_api.generation.operations import OPERATIONS, Edit, Inpaint, TextToImage
from sd_api.generation.references import Reference
from sd_api.generation.spec import PictureSeeds
from sd_api.imaging.sizing import padded_size
from sd_api.models.allowed_classes import shown
from sd_api.models.components import Parts
from sd_api.models.families.base import Family
from sd_api.models.sharing import pipeline_of
from sd_api.models.trials import TrialError
from sd_api.settings import Limits

# Tensors of more numbers are not computed with.
_FEW = 10_000
# How many of the layers that are alike are tried, and what configurations of transformers call their number.
_LAYERS = 2
_COUNTS = ("num_layers", "num_single_layers", "n_layers")
_META = torch.device("meta")


def try_picture(family: Family, pipeline: Any) -> None:
    """Draw without numbers.

    Args:
        family: of the model.
        pipeline: the model, which is not changed; only the configurations of its networks are used.

    Raises:
        TrialError: one of its networks does not take what the others give.
    """
    # What depends on numbers cannot be tried without them.
    with suppress(ServerError, NotImplementedError):
        _draw(family, pipeline)


def _draw(family: Family, pipeline: Any) -> None:
    with torch.device(_META):
        networks = {
            name: _made_again(part) for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)
        }
    parts = Parts(pipeline_of(type(pipeline), pipeline, **networks), torch.device("cpu"), lambda _: None)
    abilities = family.abilities(parts)
    operation = _operation(abilities)
    size = padded_size((MIN_SIDE, MIN_SIDE), multiple=abilities.size_multiple, minimum=MIN_SIDE)
    with torch.no_grad(), _Shapes():  # type: ignore[no-untyped-call]
        with _explained("text encoders"):
            conditioning = family.encode(parts, operation)
        with _explained("autoencoder"):
            row = family.start(parts, operation, PictureSeeds(seed=1), size, conditioning)
        with _explained(parts.denoiser.name):
            while not row.done:
                family.advance(row, family.predict(parts, [row])[0])
        with _explained("autoencoder"):
            family.decode(parts, [row], [])


def _made_again(network: Any) -> Any:
    """A network of the same configuration without weights, and with few of the layers that are alike."""
    kind, config = type(network), network.config
    if isinstance(network, PreTrainedModel):
        # Of a language model, families read hidden states of layers that they name.
        few = {"num_layers": min(config.num_layers, _LAYERS)} if isinstance(network, T5PreTrainedModel) else {}
        return kind(type(config).from_dict(config.to_dict() | few))
    few = {name: min(config[name], _LAYERS) for name in _COUNTS if isinstance(config.get(name), int)}
    return kind.from_config({**config, **few})


def _operation(abilities: ModelAbilities) -> Operation:
    """What takes most of a model's parts, one that sees references with one."""
    image = ImageRef.of(Image.new("RGB", (MIN_SIDE, MIN_SIDE)), "image")
    fields: dict[str, Any] = {"prompt": "a", "negative_prompt": "b", "steps": 1, "guidance": 5.0, "limits": Limits()}
    if "references" in abilities.capabilities and "ip_adapters" not in abilities.capabilities:
        fields["references"] = (Reference(image=image),)
    kind: Any = OPERATIONS[abilities.modes[-1]]
    if kind is TextToImage:
        return TextToImage(width=MIN_SIDE, height=MIN_SIDE, **fields)
    if kind is Edit:
        return Edit(image=image, **fields)
    if kind is Inpaint:
        fields["mask"] = ImageRef.of(Image.new("L", (MIN_SIDE, MIN_SIDE), 255), "mask")
    made: Operation = kind(image=image, strength=1.0, **fields)
    return made


@contextmanager
def _explained(part: str) -> Iterator[None]:
    try:
        yield
    except (ServerError, NotImplementedError):
        raise
    except Exception as error:
        # That shapes do not fit, torch says by a RuntimeError; all else may be for lack of numbers or of a device.
        if not isinstance(error, RuntimeError) or _META.type in str(error):
            raise NotImplementedError from error
        reason = shown(" ".join(str(error).split()), 200)
        raise TrialError(f"its {part} cannot be used with the other parts: {reason}") from None


class _Shapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Computes with the shapes of tensors alone where there is a weight, or where there are many numbers.

    What comes of it is zeros. All tensors but the weights are on the processor, whatever the device of a network is.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        weights = [tensor for tensor in tensors if tensor.is_meta]
        device = kwargs.get("device")
        if device == _META:
            kwargs["device"] = torch.device("cpu")
        if func is torch.ops.aten._local_scalar_dense.default and weights:
            return 0
        only_weights = len(weights) == len(tensors) and device in (None, _META)
        many = sum(tensor.numel() for tensor in tensors) > _FEW and not func.is_view
        if not tensors or only_weights or not (weights or many):
            return func(*args, **kwargs)
        meta = kwargs | ({"device": _META} if "device" in kwargs else {})
        try:
            made = func(*_without_numbers(args), **_without_numbers(meta))
        except NotImplementedError:
            if weights:
                raise
            return func(*args, **kwargs)
        outputs = [leaf for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
        if not weights and not all(output.is_floating_point() for output in outputs):
            # Whether something is a number, or where the largest is, decides what is done next.
            return func(*args, **kwargs)
        if func._schema.is_mutable:
            return args[0]
        return tree_map_only(torch.Tensor, lambda tensor: torch.zeros(tensor.shape, dtype=tensor.dtype), made)


def _without_numbers(values: Any) -> Any:
    return tree_map_only(torch.Tensor, lambda tensor: tensor.to(_META), values)
