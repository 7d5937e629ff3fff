"""What was measured, as a table, as a page and as a chart."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from bench.compare import Cost, Spread

DECIMALS = {"s": 2, "ms": 2}
"""Of a figure, by its unit; the others have none."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is to reach, or, if it is a ceiling, not to be above."""

    wanted: float
    is_ceiling: bool = False

    def verdict(self, figure: float) -> str:
        """Say what was wanted and whether it was reached."""
        if self.is_ceiling:
            return f"≤ {self.wanted:g}: {'met' if figure <= self.wanted else 'MISSED'}"
        return f"≥ {self.wanted:g}: {'met' if figure >= self.wanted else 'MISSED'}"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: the median of the rounds."""

    what: str
    who: str
    figure: float
    unit: str
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu: Cost | None = None
    ours_by_it: Spread | None = None
    """How many times our figure is of this one, round by round."""
    goal: Goal | None = None
    """For the ratio, or for the figure of a row without one."""

    @property
    def verdict(self) -> str:
        """Whether the goal is reached."""
        if self.goal is None:
            return ""
        return self.goal.verdict(self.ours_by_it.median if self.ours_by_it else self.figure)

    def cells(self) -> tuple[str, ...]:
        """The row as text, one for each of HEADINGS."""
        of = self.ours_by_it
        return (
            self.what,
            self.who,
            f"{self.figure:,.{DECIMALS.get(self.unit, 0)}f} {self.unit}",
            "" if self.p50_ms is None else f"{self.p50_ms:.2f}",
            "" if self.p99_ms is None else f"{self.p99_ms:.1f}",
            "" if self.cpu is None else f"{self.cpu.api:,.0f} + {self.cpu.database:,.0f}",
            "" if of is None else f"{of.median:.2f} ({of.lowest:.2f} to {of.highest:.2f})",
            self.verdict,
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """The rows of a measurement, and why they do not count; no problems for good ones."""

    rows: list[Row]
    problems: list[str]

    @property
    def driver(self) -> float:
        """The largest part of a core that the load driver took for one of the rates."""
        return max((row.cpu.driver * row.figure / 1e6 for row in self.rows if row.cpu), default=0.0)

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows."""
        self.rows.extend(rows)


HEADINGS = ("measured", "of", "median", "p50 ms", "p99 ms", "CPU µs", "ours ÷ it (min to max)", "goal")


def table(rows: Sequence[Row]) -> str:
    """The rows as text."""
    lines = [HEADINGS, *_grouped(rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _grouped(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The cells of all rows; what a row has in common with the one above is said once."""
    before = ""
    lines: list[tuple[str, ...]] = []
    for row in rows:
        _, *cells = row.cells()
        lines.append(("" if row.what == before else row.what, *cells))
        before = row.what
    return lines


def page(measured: Measured, conditions: str, chart: str, before: str) -> str:
    """docs/benchmarks.md: the chart, the table, what does not count, and how to read them.

    What people wrote there, from its first heading of the second level on, is kept from the page `before`.
    """
    _, heading, written = before.partition("\n## ")
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *_grouped(measured.rows)]
    invalid = "".join(f"\n**Does not count:** {problem}\n" for problem in measured.problems)
    as_table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"""# Benchmarks

Written by `make bench`; [bench/README.md](../bench/README.md) says how it measures and what the peers are.
The figures are of one machine on one day: read the ratios.

![Requests and PUTs per second of the payment service and its peers]({chart})

{as_table}
{invalid}
{conditions}

- *Median*, *p50* and *p99* are medians of the rounds; in each round every service had its turn. *Ours ÷ it*
  is our figure divided by that row's, round by round: the median, the lowest and the highest. In the rows of
  an outage, a walk-in guest or a payer alone, "ours" is the case that the group is about: its first row.
- *CPU µs* is what an answer took of the service's process + of all of PostgreSQL, the kernel's part included.
- Requests are a closed loop: a connection waits for its answer before it sends again. The open loop is one of
  guests who come when they come; a wait counts from when its request was due.
- Client, server and database shared the machine and its cores. One process a server.
- The peers do less than ours: no idempotency, no split bills, no checks in their tables.
  `fastapi_thin` keeps the payment and nothing else: an order can be paid twice, and nobody is told.
{heading}{written}"""


WIDTH, LABELS, BARS = 760, 190, 340
LINE, GAP = 24, 34
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .what { font-weight: 600 }
  .ours { fill: #1a7f37 }
  .other { fill: #8c959f }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .ours { fill: #3fb950 }
    .other { fill: #6e7681 }
  }
"""


def chart(rows: Sequence[Row]) -> str:
    """The rates as an SVG chart of bars, each group on a scale of its own; readable in light and dark."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.unit.endswith("/s"):
            groups.setdefault(row.what, []).append(row)
    parts: list[str] = []
    y = 4
    for what, of in groups.items():
        y += GAP
        parts.append(f'<text class="what" x="8" y="{y - 12}">{escape(what)}</text>')
        most = max(row.figure for row in of)
        for n, row in enumerate(of):
            length = max(1, round(BARS * row.figure / most))
            kind = "ours" if n == 0 else "other"
            says = f"{row.figure:,.0f} {row.unit}"
            if row.ours_by_it:
                says += f" (ours ÷ it: {row.ours_by_it.median:.2f})"
            parts.append(f'<text x="{LABELS - 10}" y="{y + 13}" text-anchor="end">{escape(row.who)}</text>')
            parts.append(f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{length}" height="17" rx="3"/>')
            parts.append(f'<text x="{LABELS + length + 8}" y="{y + 13}">{escape(says)}</text>')
            y += LINE
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 8}" width="{WIDTH}" role="img" '
        f'aria-label="Requests and PUTs per second">\n<style>{STYLE}</style>\n{inside}\n</svg>\n'
    )
