"""The dialect of AUTOMATIC1111's web UI, ``/sdapi/v1``, which editors, chat programs and scripts speak."""
