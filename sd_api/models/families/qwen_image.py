"""Qwen-Image, and Qwen-Image-Edit, which changes images by instruction (arXiv:2508.02324)."""

import hashlib
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import (
    CONDITION_IMAGE_SIZE,
    VAE_IMAGE_SIZE,
    calculate_dimensions,
)
from PIL import Image

from sd_api.generation.abilities import SeenImages
from sd_api.generation.images import ImageRef
from sd_api.generation.operation import MIN_SIDE, Operation
from sd_api.generation.operations import FromImage
from sd_api.imaging.sizing import pad, padded_size
from sd_api.models.attention import Asked
from sd_api.models.component import Component
from sd_api.models.components import Parts
from sd_api.models.families.flow import even_sigmas, linear_shift
from sd_api.models.families.packing import pack, unpack
from sd_api.models.families.transformer import Published, TransformerFamily
from sd_api.models.families.transformer_control import Added, RowControl, maps_of, spread
from sd_api.models.families.transformer_rows import Call, TransformerRow, TransformerStart, Words, guidance_of, seen_by
from sd_api.models.families.transformer_words import CONTROLS, REFERENCES

_PUBLISHED = Published(steps=50, guidance=4.0)
_EDIT = Published(modes=("edit",), steps=50, guidance=4.0)
_EDIT_PLUS = Published(modes=("edit",), steps=40, guidance=4.0)


class QwenImage(TransformerFamily):
    """See Family."""

    name = "Qwen-Image"
    attention: Asked = "dispatched"
    pipelines = dict.fromkeys((f"QwenImage{kind}Pipeline" for kind in ("", "Img2Img", "Inpaint")), _PUBLISHED)
    capabilities: tuple[str, ...] = ("negative_prompt", CONTROLS)
    schedulers = ("euler", "unipc")

    def words(self, parts: Parts, operation: Operation, prompt: str, *, negative: bool) -> Words:
        """See TransformerFamily: as many tokens as the prompt has, so none of them is masked."""
        words, _ = parts.pipeline.encode_prompt(prompt, device=parts.device, max_sequence_length=self.longest)
        return {"words": words}

    def sigmas(self, steps: int) -> Any:
        """See TransformerFamily."""
        return even_sigmas(steps)

    def shift(self, parts: Parts, tokens: int, steps: int) -> float:
        """See TransformerFamily."""
        return linear_shift(parts.pipeline.scheduler.config, tokens)

    def guide(self, row: TransformerRow, with_prompt: torch.Tensor, without: torch.Tensor) -> torch.Tensor:
        """See TransformerFamily; each token stays as long as the prompt's own prediction makes it."""
        one, guided = pack(with_prompt), pack(super().guide(row, with_prompt, without))
        scale = torch.norm(one, dim=-1, keepdim=True) / torch.norm(guided, dim=-1, keepdim=True)
        return unpack(guided * scale, with_prompt.shape)

    def forward(self, parts: Parts, call: Call, **added: Sequence[torch.Tensor]) -> torch.Tensor:
        """See TransformerFamily."""
        images = seen_by(call.samples, call.rows)
        tokens = [pack(image) for image in images]
        output = call.network(
            hidden_states=torch.cat(tokens, 1),
            timestep=call.timesteps.to(call.samples.dtype) / 1000,
            guidance=guidance_of(parts.denoiser, call, parts.device),
            encoder_hidden_states_mask=None,
            encoder_hidden_states=call.words["words"],
            img_shapes=_shapes(images, len(call.rows)),
            return_dict=False,
            **added,
        )[0]
        return unpack(output[:, : tokens[0].shape[1]], call.samples.shape)

    def follow(
        self, parts: Parts, call: Call, net: Component, column: Sequence[RowControl], scale: torch.Tensor | float
    ) -> Added:
        """See TransformerFamily."""
        several = net(
            hidden_states=pack(call.samples),
            controlnet_cond=pack(maps_of(column)),
            conditioning_scale=scale,
            encoder_hidden_states=call.words["words"],
            timestep=call.timesteps.to(call.samples.dtype) / 1000,
            img_shapes=_shapes([call.samples], len(call.rows)),
            return_dict=False,
        )
        return {"controlnet_block_samples": spread(several, parts.denoiser.config.num_layers)}


class QwenImageEdit(QwenImage):
    """See Family; the text encoder sees the image as well."""

    name = "Qwen-Image-Edit"
    capabilities: tuple[str, ...] = ("negative_prompt",)
    sees = SeenImages(changed=VAE_IMAGE_SIZE)
    pipelines = dict.fromkeys(("QwenImageEditPipeline",), _EDIT)
    most_probable = True

    def context(self, operation: Operation) -> Hashable:
        """See TransformerFamily."""
        images = [image.pixels for image in self.shown_images(operation)]
        return tuple((image.size, hashlib.sha256(image.tobytes()).digest()) for image in images)

    def words(self, parts: Parts, operation: Operation, prompt: str, *, negative: bool) -> Words:
        """See TransformerFamily."""
        words, _ = parts.pipeline.encode_prompt(prompt, image=self.shown(parts, operation), device=parts.device)
        return {"words": words}

    def shown_images(self, operation: Operation) -> Sequence[ImageRef]:
        """The images that the model sees: the one that is changed."""
        assert isinstance(operation, FromImage)  # noqa: S101 - its models do nothing else
        return [operation.image]

    def shown(self, parts: Parts, operation: Operation) -> Any:
        """What the text encoder sees."""
        (image,) = self.scaled(parts, operation, VAE_IMAGE_SIZE)
        return image

    def scaled(self, parts: Parts, operation: Operation, pixels: int) -> list[Image.Image]:
        """The images that the model sees, each scaled to about so many pixels in all; first the one that is changed."""
        first, *others = (image.pixels for image in self.shown_images(operation))
        padded = pad(first, padded_size(first.size, multiple=self.multiple(parts), minimum=MIN_SIDE))
        return [_scaled(image, pixels) for image in (padded, *others)]

    def references(self, start: TransformerStart) -> Sequence[torch.Tensor]:
        """See TransformerFamily: also the image that is changed is seen at the size that the model was trained with."""
        return [start.encode_whole(image) for image in self.scaled(start.parts, start.operation, VAE_IMAGE_SIZE)]


class QwenImageEditPlus(QwenImageEdit):
    """See Family; it sees several images, and the text encoder sees them smaller."""

    name = "Qwen-Image-Edit-Plus"
    pipelines = dict.fromkeys(("QwenImageEditPlusPipeline",), _EDIT_PLUS)
    capabilities = (*QwenImageEdit.capabilities, REFERENCES)
    sees = SeenImages(changed=VAE_IMAGE_SIZE, least=VAE_IMAGE_SIZE, most=VAE_IMAGE_SIZE)

    def shown_images(self, operation: Operation) -> Sequence[ImageRef]:
        """See QwenImageEdit."""
        return [*super().shown_images(operation), *(reference.image for reference in operation.references)]

    def shown(self, parts: Parts, operation: Operation) -> Any:
        """See QwenImageEdit."""
        return self.scaled(parts, operation, CONDITION_IMAGE_SIZE)


def _shapes(images: Sequence[torch.Tensor], rows: int) -> list[list[tuple[int, int, int]]]:
    """The tokens of each image that a row sees: frames, rows and columns."""
    return [[(1, image.shape[-2] // 2, image.shape[-1] // 2) for image in images]] * rows


def _scaled(image: Image.Image, pixels: int) -> Image.Image:
    width, height = calculate_dimensions(pixels, image.width / image.height)[:2]
    scaled: Image.Image = VaeImageProcessor().resize(image, height, width)
    return scaled
