"""The funnel: how many views went in, what each rule took, how many came out."""

from collections import Counter

from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.pages.verdicts import SPARE_PARTS, dropped_by, explain, other_reasons


def funnel(rows: list[Row], rules: list[str]) -> Row:
    """Counts before and after each rule; widths of bars are shares of the views that went in."""
    would_drop = Counter(reason["rule"] for row in rows for reason in other_reasons(row) if row["rule"] != SPARE_PARTS)
    spare = sum(row["rule"] == SPARE_PARTS for row in rows)
    total = left = len(rows) - spare
    bars: list[Row] = []
    for rule, dropped in dropped_by(rows, rules).items():
        after = left - len(dropped)
        bars.append(
            {
                "rule": rule,
                "words": explain(rule),
                "count": len(dropped),
                "also": would_drop[rule],
                "left": after,
                "before_share": share(left, total),
                "after_share": share(after, total),
            }
        )
        left = after
    return {"total": total, "spare": spare, "bars": bars, "kept": left, "kept_share": share(left, total)}


def share(part: int, whole: int) -> str:
    """Percent with one decimal, as CSS takes it."""
    return f"{100 * part / whole if whole else 0:.1f}"


def raw_counts(raw: PathLike) -> Row:
    """Pictures that the source gave, and counts of the unusable ones by kind of problem."""
    rows = read_table(raw, ["picture", "problem"])
    problems = Counter(row["problem"].partition(":")[0] for row in rows if row["problem"])
    return {"pictures": len(rows), "problems": sorted(problems.items(), key=lambda entry: (-entry[1], entry[0]))}
