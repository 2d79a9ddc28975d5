"""Numbers, shapes and fields as text, and lines of it as a table."""

from collections.abc import Sequence

from minicnn.costs.receptive_field import ReceptiveField


def aligned(lines: Sequence[Sequence[str]], text_columns: int) -> list[str]:
    """Write lines of cells below each other: the first columns, of text, to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i < text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]


def framed(
    titles: Sequence[str],
    lines: Sequence[Sequence[str]],
    totals: Sequence[str],
    field: ReceptiveField | None,
) -> str:
    """Write the table of a network.

    Args:
        titles: of the columns; the first two hold text, the others numbers.
        lines: the cells of each layer.
        totals: lines below the table.
        field: what the output sees of the image, for one more line; None for no such line.
    """
    table = aligned([titles, *lines], text_columns=2)
    rule = "=" * len(table[0])
    seen = field_texts(field)[0]
    last = [] if field is None else [f"Receptive field of the output: {seen} pixels"]
    return "\n".join([table[0], rule, *table[1:], rule, *totals, *last])


def shape_text(shape: tuple[int, ...]) -> str:
    """Write a shape with N for the batch axis, which has size 1 here."""
    axes = ["N" if i == 0 and size == 1 else str(size) for i, size in enumerate(shape)]
    return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"


def with_unit(size: float) -> str:
    """Write a number of bytes in the unit that leaves one to four digits before the point."""
    unit = "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size} {unit}" if unit == "B" else f"{size:.2f} {unit}"


def field_texts(field: ReceptiveField | None) -> tuple[str, str]:
    """Write height x width of a receptive field, after a ~ if it is about that, and its jump; "-" for none."""
    if field is None:
        return "-", "-"
    about = "" if all(extent.exact for extent in field) else "~"
    return about + _pair_text(field.size), _pair_text(field.jump) if any(field.jump) else "-"


def _pair_text(pair: tuple[float, float]) -> str:
    return "x".join(f"{number:g}" for number in pair)
