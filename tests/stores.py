"""The stores of both ways to keep things, as the server opens them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sd_api.settings import Settings
from sd_api.stores import Stores, open_stores

OpenAgain = Callable[[], Stores]


@contextmanager
def opened(**settings: object) -> Iterator[Stores]:
    """The stores of one process with these settings."""
    stores = open_stores(Settings.model_validate(settings))
    try:
        stores.start()
        yield stores
    finally:
        stores.close()
