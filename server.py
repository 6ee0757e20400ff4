"""Starts the server from a checkout; an installed package has the command ``sd-api-server``."""

# Everything in this file is understood by old versions of Python as well, so that they get to the message.
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - an older one gets here, because pip does not stand in between
    sys.exit("Python 3.11 or newer is needed; this is %s." % sys.version.split()[0])  # noqa: UP031

from sd_api.server import main

if __name__ == "__main__":
    main()
