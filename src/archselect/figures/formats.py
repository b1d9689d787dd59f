"""The formats that figures are written in: known without loading what draws them."""

FORMATS = ("png", "svg", "pdf")


def formats_of(value: object) -> tuple[str, ...]:
    """Return the formats that the option `figures.format` asks for: one of `FORMATS`, or a list of them.

    Raises:
        ValueError: It asks for another.
    """
    wanted = [value] if isinstance(value, str) else value
    if not isinstance(wanted, list | tuple) or not wanted or not all(one in FORMATS for one in wanted):
        raise ValueError(
            f"figures.format must be one of {', '.join(FORMATS)}, or a list of them such as [svg,pdf]; got {value!r}."
        )
    return tuple(dict.fromkeys(wanted))
