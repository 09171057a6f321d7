"""Why a file could not be read, in the one line that a message has for it."""


def reason_of(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).splitlines()
    return lines[0].rstrip(":") if lines else type(error).__name__
