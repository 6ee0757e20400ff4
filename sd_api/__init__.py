"""A local Stable Diffusion inference server; see docs/architecture.md for the map of its rooms."""

__version__ = "0.1.0"
