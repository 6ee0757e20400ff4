"""The one value that every dialect makes and every engine takes."""

from collections.abc import Hashable
from dataclasses import InitVar, dataclass
from typing import Literal

from PIL import Image

from sd_api.generation.limits import check_limits
from sd_api.settings import Limits

Mode = Literal["txt2img", "img2img", "masking"]


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """One prompt, and one picture for each seed.

    Constructing it enforces the limits, so that every dialect validates alike.

    Attributes:
        prompt: what to draw.
        negative_prompt: what to stay away from; acts only while ``guidance_scale`` > 1.
        model: the ``url_path`` of a custom model, or ``provider:id``; None is the main model.
        seeds: the seed of each picture, 0 to ``MAX_SEED``. Every seed is used as it is.
        width: of the answer, in pixels; that of ``init_image`` where there is one.
        height: of the answer, in pixels; that of ``init_image`` where there is one.
        num_inference_steps: denoising steps of a full schedule, at least 1.
        guidance_scale: classifier-free guidance (arXiv:2207.12598); it acts above 1.
        eta: 0 to 1, noise added at each step; only the ``ddim`` scheduler knows it (arXiv:2010.02502).
        scheduler: a name of ``SCHEDULERS``; None is the model's own.
        strength: 0 to 1, the share of the schedule that is run on ``init_image``.
        init_image: RGB, what to start from.
        mask_image: L, the size of ``init_image``; 255 is replaced, 0 is kept.
        safety_checker: whether to check the pictures; None is the model's own setting.

    Raises:
        OutOfLimits: a value lies outside ``limits``.
    """

    prompt: str
    seeds: tuple[int, ...]
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    negative_prompt: str = ""
    model: str | None = None
    eta: float = 0.0
    scheduler: str | None = None
    strength: float = 1.0
    init_image: Image.Image | None = None
    mask_image: Image.Image | None = None
    safety_checker: bool | None = None
    limits: InitVar[Limits]

    def __post_init__(self, limits: Limits) -> None:
        check_limits(self, limits)

    @property
    def work(self) -> float:
        """How much there is to do: pictures times denoising steps times pixels."""
        return len(self.seeds) * max(1.0, self.num_inference_steps * self.strength) * self.width * self.height

    @property
    def batch_key(self) -> Hashable:
        """Requests with the same one can be made in one batch: all but words, seeds and images is alike."""
        return (
            self.mode,
            self.model,
            self.width,
            self.height,
            self.num_inference_steps,
            self.guidance_scale,
            self.eta,
            self.scheduler,
            self.strength,
            self.safety_checker,
        )

    @property
    def mode(self) -> Mode:
        """What kind of generation it is, as told by the images that it has."""
        if self.init_image is None:
            return "txt2img"
        return "img2img" if self.mask_image is None else "masking"
