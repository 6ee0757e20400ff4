"""Works around a fault of torch on processors: convolutions of narrow inputs that read uninitialised memory.

In half precision, oneDNN's convolution with a stride of 2, a kernel of 3, 160 channels and more and an input at most 2
wide gives other numbers each time, or none (torch 2.13, oneDNN 3.12, depending on the processor). A UNet's
downsamplers meet such inputs in narrow pictures. In single precision the result is right.
``tests/models/test_narrow_inputs.py`` fails when torch has mended it; then this module can go.
"""

import torch


class NarrowInputConv2d(torch.nn.Conv2d):
    """A convolution that computes in single precision where its input is narrower than its kernel.

    Args:
        conv: Whose weights it shares.
    """

    def __init__(self, conv: torch.nn.Conv2d) -> None:
        # On no device, because the weights are those that are there.
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            conv.groups,
            conv.bias is not None,
            conv.padding_mode,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.train(conv.training)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name for it
        """(n, channels, height, width) of the input to the same of the result, in the precision of the input."""
        if min(input.shape[-2:]) >= max(self.kernel_size):
            return super().forward(input)
        bias = None if self.bias is None else self.bias.float()
        result: torch.Tensor = self._conv_forward(input.float(), self.weight.float(), bias)
        return result.to(input.dtype)


def guard_narrow_inputs(module: torch.nn.Module) -> None:
    """Exchange the strided convolutions within a module; all else, and the names of the weights, stay."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            # Not those of other classes, which may compute something else.
            if type(child) is torch.nn.Conv2d and max(child.stride) > 1:
                parent.register_module(name, NarrowInputConv2d(child))
