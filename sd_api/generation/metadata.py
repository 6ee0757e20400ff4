"""How a picture was made, as text that other tools read.

The form is the one that AUTOMATIC1111's web UI writes into the ``parameters`` text chunk of
its PNG files, and that most viewers, organisers and other servers understand: the prompt, a
line with the negative prompt, and one line of ``key: value`` pairs.
"""

from sd_api import __version__
from sd_api.generation.request import GenerationRequest


def parameters_text(request: GenerationRequest, *, seed: int, scheduler: str, model: str) -> str:
    """Tell how the picture with ``seed`` was made.

    Args:
        request: what was asked for.
        seed: of this picture.
        scheduler: the one that ran; the model's own where the request named none.
        model: the name of the model, without the folders of this machine.
    """
    pairs: dict[str, object] = {
        "Steps": request.num_inference_steps,
        "Sampler": scheduler,
        "CFG scale": _number(request.guidance_scale),
        "Seed": seed,
        "Size": f"{request.width}x{request.height}",
        "Model": model,
    }
    if request.init_image is not None:
        pairs["Denoising strength"] = _number(request.strength)
    if request.eta:
        pairs["Eta"] = _number(request.eta)
    pairs["Version"] = f"sd-api-server {__version__}"

    # What would end the text chunk early cannot be part of it.
    lines = [request.prompt.replace("\0", " ")]
    if request.negative_prompt:
        lines.append("Negative prompt: " + request.negative_prompt.replace("\0", " "))
    lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in pairs.items()))
    return "\n".join(lines)


def _number(value: float) -> str:
    # Every digit, because a rounded strength can mean another number of steps.
    return str(value).removesuffix(".0")


def _quoted(value: object) -> str:
    # A comma or a colon inside a value would end it early in the readers of this format.
    text = str(value)
    if any(separator in text for separator in ',:"\n'):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text
