"""docs/benchmarks.md: what was measured is written anew, what people wrote below it stays."""

from bench.report import Measured, page

WRITTEN = "\n## Why\n\n- For a reason.\n\n## And how\n"


def test_what_people_wrote_is_kept() -> None:
    before = page(Measured([], []), "2 cores", "old.svg", "") + WRITTEN
    after = page(Measured([], []), "4 cores", "new.svg", before)
    assert after.endswith(WRITTEN)
    assert after.count("## Why") == 1
    assert "old.svg" not in after
    assert "2 cores" not in after


def test_a_first_page_has_only_what_was_measured() -> None:
    assert "\n## " not in page(Measured([], []), "2 cores", "new.svg", "")
