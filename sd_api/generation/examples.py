"""The pictures that documentation has as examples: small enough to stand in it, and valid."""

from base64 import b64decode

LANDSCAPE = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAgMAAADXB5lNAAAACVBMVEVaoOZGjDz63FqnqGGNAAAAVUlEQVR42mNgGHxAawEDAwMLgs/UwMDAwMCE"
    "EOBgYGhAEVBgYFBAEYBqRDAbGBg48KsgQ6CBgeEHfhUPGBgeoAj8YGBowOLbUUAAMIZSNeZGBagkAAAH7Qi3zaZgFgAAAABJRU5ErkJggg=="
)
"""A PNG of 64×64 pixels: a meadow, the sky and the sun."""

SKY = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQAAAACCEkxzAAAAFUlEQVR42mP8zwABTAyjDBoyhisAALoHAU/uttTfAAAAAElFTkSuQmCC"
)
"""A PNG of 64×64 pixels: the mask of the sky of ``LANDSCAPE``."""
