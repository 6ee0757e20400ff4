"""Ends well where this machine's server can make pictures, or will once its model is loaded; takes the port."""

import sys
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

# With "require_token": true the server tells no more than that it is there.
NO_TOKEN = 401


def main() -> int:
    """The exit status."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 1337
    # Straight to it: a proxy that the environment names is for other machines.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/health", timeout=4):
            return 0
    except HTTPError as error:
        sys.stderr.write(error.read().decode("utf-8", "replace"))
        return int(error.code != NO_TOKEN)
    except (URLError, TimeoutError) as error:
        sys.stderr.write(f"The server does not answer at port {port}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
