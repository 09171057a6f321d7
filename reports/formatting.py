"""How numbers are written in the report and in the verdict; a missing one is always a word."""

import math
from collections.abc import Mapping

from markupsafe import Markup, escape

from reports.compute.accuracy import Interval

MISSING = "not run"
SPACE = "\N{NO-BREAK SPACE}"
BINARY_STEP = 1024
SECONDS_PER_MINUTE = 60
SECONDS_PER_HOUR = 3600


def percent(fraction: float | None, missing: str = MISSING) -> str:
    """Write a fraction in [0, 1] as percent with one decimal."""
    return missing if fraction is None else relative(100 * fraction)


def relative(value: float | None, missing: str = MISSING) -> str:
    """Write a number that is in percent already, with one decimal."""
    if value is None:
        return missing
    return f"{value:.1f}{SPACE}%" if math.isfinite(value) else "not finite"


def interval(value: Interval | None, missing: str = MISSING) -> str:
    """Write an interval in percent, such as `93.4 % (91.8 to 95.0 %)`."""
    if value is None:
        return missing
    return f"{relative(value.value)} ({value.low:.1f} to {relative(value.high)})"


def whole(value: int | None, missing: str = MISSING) -> str:
    """Write a whole number with thousands separated."""
    return missing if value is None else f"{value:,}"


def quantity(value: int | None, missing: str = MISSING) -> str:
    """Write a large whole number with three digits and k, M or G."""
    if value is None:
        return missing
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # With three digits, 999,500 is a million already.
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{SPACE}{unit}"
    return str(value)


def duration(seconds: float | None, missing: str = MISSING) -> str:
    """Write seconds as seconds, minutes or hours, whichever reads best."""
    if seconds is None:
        return missing
    if seconds < SECONDS_PER_MINUTE:
        return f"{seconds:.1f}{SPACE}s"
    if seconds < SECONDS_PER_HOUR:
        minutes, rest = divmod(round(seconds), SECONDS_PER_MINUTE)
        return f"{minutes}{SPACE}min {rest:02d}{SPACE}s"
    hours, rest = divmod(round(seconds / SECONDS_PER_MINUTE), SECONDS_PER_MINUTE)
    return f"{hours:,}{SPACE}h {rest:02d}{SPACE}min"


def memory(mebibytes: float | None, missing: str = MISSING) -> str:
    """Write mebibytes as MiB or GiB."""
    if mebibytes is None:
        return missing
    if mebibytes < BINARY_STEP:
        return f"{mebibytes:.0f}{SPACE}MiB"
    return f"{mebibytes / BINARY_STEP:.1f}{SPACE}GiB"


def milliseconds(value: float | None, missing: str = MISSING) -> str:
    """Write milliseconds with three significant digits."""
    return missing if value is None else f"{value:.3g}{SPACE}ms"


def cost(value: float, against: str) -> str:
    """Write what a trial costs; counts without saying of what.

    Args:
        value: parameters, MACs, milliseconds or seconds.
        against: which of them, as in an experiment file.
    """
    match against:
        case "latency":
            return milliseconds(value)
        case "training_seconds":
            return duration(value)
        case "macs":
            return quantity(round(value))
        case _:
            return whole(round(value))


def cost_in_full(value: float, against: str) -> str:
    """Write what a trial costs for a sentence, such as `12,345 parameters`."""
    noun = {"parameters": f"{SPACE}parameters", "macs": f"{SPACE}MACs"}.get(against, "")
    return f"{cost(value, against)}{noun}"


def number(value: float | None, missing: str = "none") -> str:
    """Write any number with four significant digits."""
    return missing if value is None else f"{value:.4g}"


def signed(value: float) -> str:
    """Write a number with two decimals, and a minus sign only where it is not 0 then."""
    text = f"{value:.2f}"
    return text.replace("-", "" if float(text) == 0 else "\N{MINUS SIGN}")


def exact(value: float | None, missing: str = "none") -> str:
    """Write a number as short as it can be read back, such as `0.02`, `16` or `1e-05`."""
    if value is None:
        return missing
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def setting(value: object) -> str:
    """Write the value of a searched parameter."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def inline(value: object) -> str:
    """Write nested settings in one line, such as `torch 2.11.0, ray 2.60.0`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {inline(value[key])}" for key in sorted(value, key=str)) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(inline(item) for item in value) or "none"
    return "unknown" if value is None else str(value)


def moment(time: str) -> str:
    """Write a time of the records, UTC in ISO 8601, to the minute; other text as it is."""
    date, separator, clock = time.partition("T")
    return shorten(f"{date} {clock[:5]}{SPACE}UTC" if separator else time)


def shorten(text: str, longest: int = 60) -> str:
    """Cut a text that is longer than `longest` characters, and mark the cut."""
    return text if len(text) <= longest else f"{text[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"


def breakable(text: str) -> Markup:
    """A name that may be broken after an underscore rather than within a word."""
    return escape(text).replace("_", Markup("_<wbr>"))


def sentence(text: str) -> str:
    """Begin a text with a capital, and leave the rest as it is."""
    return text[:1].upper() + text[1:]


def plural(number_of: int, noun: str) -> str:
    """Write a count with its noun, such as `1 trial` or `12 trials`."""
    return f"{number_of:,} {noun}" if number_of == 1 else f"{number_of:,} {noun}s"


def markdown_text(text: str) -> str:
    """Text in one line that no Markdown reads anything into."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]<>|#~" else " " if c in "\r\n" else c for c in text)
