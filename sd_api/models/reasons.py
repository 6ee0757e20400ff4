"""What the errors of libraries say, for sentences of ours."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text; the name of its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
