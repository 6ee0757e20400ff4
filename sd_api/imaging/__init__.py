"""Images: decoding to upright RGB images and masks, sizes, compositing, and encoding as PNG.

Everything here works on ``PIL.Image`` values and knows nothing about HTTP, models or torch. Only faults in a client's
input become errors of ``sd_api.errors``; sizes that do not fit are bugs of the caller.
"""
