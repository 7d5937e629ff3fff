"""Rows as a table for people."""

from collections.abc import Iterator, Sequence


def lines_of(rows: Sequence[Sequence[str]], *, aligned: str) -> Iterator[str]:
    """Yield the table's lines: two spaces between columns, none at the end.

    Args:
        rows: the cells of each line, its headings first.
        aligned: a character a column, `<` left or `>` right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{side}{width}}" for cell, side, width in zip(row, aligned, widths, strict=True))
        yield "  ".join(cells).rstrip()
