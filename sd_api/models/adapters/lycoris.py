"""The layers of LyCORIS (arXiv:2309.14859) and of kohya's scripts as LoRAs of PEFT that change the weights by the same.

LoHa has the elementwise product of two low-rank matrices, and LoKr the Kronecker product of two small ones. Both are
products of low rank again, whose two factors are written down from theirs, so that PEFT runs them beside others.
"""

import re
from collections.abc import Iterable

import torch

from sd_api.models.adapters.lora_layouts import Tensors, with_kohyas_prefixes

# The tensors of a layer that make a file one of LyCORIS; ``lora_mid`` is the core of a convolution's decomposition.
_OWN = (".hada_w1_a", ".lokr_w1", ".lokr_w1_a", ".lora_mid.weight")

# What a layer may have.
_TENSOR = re.compile(r"alpha|lora_(up|down|mid|A|B)|(hada|lokr)_(w[12](_[ab])?|t[12])")

# What the factors of a LoRA are called by PEFT and by kohya's scripts.
_PLAIN = (("lora_B", "lora_up"), ("lora_A", "lora_down"))

Pair = tuple[torch.Tensor, torch.Tensor]
"""The two factors, (out, rank) and (rank, in), of what a layer changes its weights by; kernels count as inputs."""


def is_lycoris(names: Iterable[str]) -> bool:
    """Whether tensors of these names are of LyCORIS."""
    return any(name.endswith(_OWN) or name.startswith("lycoris_") for name in names)


def factors_of(tensors: Tensors, most: int) -> dict[str, Pair]:
    """What the layers of a file change their weights by, by their names, in single precision.

    Args:
        tensors: Those of the file.
        most: Of numbers that all factors may have. Their rank is at most the width of each layer, so that what fits the
            model has at most twice as many as that.

    Raises:
        ValueError: A layer is of another kind, its tensors do not belong together, or it is larger than allowed.
    """
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in with_kohyas_prefixes(tensors).items():
        layer, _, of_layer = name.removesuffix(".weight").rpartition(".")
        if not _TENSOR.fullmatch(of_layer):
            raise ValueError(f"its layer {layer} has the tensor {of_layer}, which is not read")
        layers.setdefault(layer, {})[of_layer] = tensor.float()
    factors = _Factors(most)
    found = {}
    for layer, own in layers.items():
        try:
            found[layer] = factors.of_layer(own)
        except KeyError as error:
            raise ValueError(f"its layer {layer} lacks {error.args[0]}") from None
        except (RuntimeError, IndexError):
            raise ValueError(f"the tensors of its layer {layer} do not belong together") from None
    return found


class _Factors:
    """See ``Pair``.

    Args:
        most: Of numbers that all of them may have.
    """

    def __init__(self, most: int) -> None:
        self._left = most

    def of_layer(self, own: Tensors) -> Pair:
        """The factors of one layer.

        Raises:
            KeyError: It lacks a tensor.
            ValueError: It is larger than allowed.
            RuntimeError, IndexError: Its tensors do not belong together.
        """
        rank = None
        if "hada_w1_a" in own:
            rank = len(own["hada_w1_b"])
            up, down = self._hadamard(self._pair(own, "hada", 1), self._pair(own, "hada", 2))
        elif "lokr_w1" in own or "lokr_w1_a" in own:
            # Without any factors of low rank it is not scaled.
            rank = next((len(own[name]) for name in ("lokr_w2_b", "lokr_w1_b") if name in own), None)
            up, down = self._kronecker(self._pair(own, "lokr", 1), self._pair(own, "lokr", 2))
        else:
            up, down = (own[ours] if ours in own else own[kohyas] for ours, kohyas in _PLAIN)
            rank = len(down)
            if "lora_mid" in own:
                down = self._with_core(own["lora_mid"], down.flatten(1))
            up, down = up.flatten(1), down.flatten(1)
        return (up if rank is None or "alpha" not in own else up * (own["alpha"].reshape(()) / rank)), down

    def _pair(self, own: Tensors, kind: str, number: int) -> Pair:
        """The factors of a matrix that stands there by itself, as two, or as two with a core between them."""
        name, core = f"{kind}_w{number}", f"{kind}_t{number}"
        if name in own:
            return _trivial(own[name].flatten(1))
        up, down = own[f"{name}_a"], own[f"{name}_b"].flatten(1)
        # Beside a core both have the rank first.
        return (up.T.contiguous(), self._with_core(own[core], down)) if core in own else (up, down)

    def _with_core(self, core: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
        """The second factor of a convolution, in which a core (rank, rank, height, width) has the kernel."""
        if core.ndim != 4 or core.shape[1] != len(down):
            raise IndexError
        self._take(core[:, 0].numel() * down.shape[1])
        return torch.einsum("rskl,si->rikl", core, down).flatten(1)

    def _hadamard(self, first: Pair, second: Pair) -> Pair:
        """Of the elementwise product of two matrices: their factors' products, row by row and column by column."""
        (up, down), (other_up, other_down) = first, second
        outputs, inputs, rank = len(up), down.shape[1], len(down) * len(other_down)
        if (outputs, inputs) != (len(other_up), other_down.shape[1]):
            raise IndexError
        self._take(min(rank, outputs, inputs) * (outputs + inputs))
        if rank > min(outputs, inputs):
            return _trivial((up @ down) * (other_up @ other_down))
        rows, columns = torch.einsum("or,os->ors", up, other_up), torch.einsum("ri,si->rsi", down, other_down)
        return rows.flatten(1), columns.flatten(0, 1)

    def _kronecker(self, first: Pair, second: Pair) -> Pair:
        """Of the Kronecker product of two matrices: the products of their factors."""
        (up, down), (other_up, other_down) = first, second
        outputs, inputs = len(up) * len(other_up), down.shape[1] * other_down.shape[1]
        rank = len(down) * len(other_down)
        self._take(min(rank, outputs, inputs) * (outputs + inputs))
        if rank > min(outputs, inputs):
            return _trivial(torch.kron(up @ down, other_up @ other_down))
        return torch.kron(up, other_up), torch.kron(down, other_down)

    def _take(self, numbers: int) -> None:
        self._left -= numbers
        if self._left < 0:
            raise ValueError("its layers are larger than those of this model")


def _trivial(matrix: torch.Tensor) -> Pair:
    """A matrix as a product with ones, on its shorter side."""
    outputs, inputs = matrix.shape
    return (torch.eye(outputs), matrix) if outputs < inputs else (matrix, torch.eye(inputs))
