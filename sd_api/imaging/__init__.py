"""Pictures in and out: text or bytes to an upright RGB image or a mask, sizes, seams, and PNG bytes.

Everything here works on ``PIL.Image`` values and knows nothing about HTTP, models or torch. Only the
faults of what a client sent become errors of ``sd_api.errors``; sizes that do not fit are the caller's bug.
"""
