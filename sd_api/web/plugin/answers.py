"""What the plugin reads: pictures as base64 text, and one shape for every failure."""

from base64 import b64encode
from typing import Any

from sd_api.generation.result import GenerationResult


def success(result: GenerationResult) -> dict[str, Any]:
    """The answer to a generation; the type is under both spellings that clients know."""
    return {
        "status": "success",
        "images": [
            {
                "base64": b64encode(image.png).decode("ascii"),
                "seed": image.seed,
                "mimetype": "image/png",
                "mime_type": "image/png",
                "nsfw": image.nsfw,
            }
            for image in result.images
        ],
    }


def failure(message: str) -> dict[str, Any]:
    """The answer to everything that went wrong."""
    return {"status": "failure", "message": message}
