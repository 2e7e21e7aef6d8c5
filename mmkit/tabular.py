"""What tables of results have in common: how a metric is headed, and Markdown. No torch here."""

from __future__ import annotations

from collections.abc import Sequence


def short_name(metric: str) -> str:
    """A metric as a column or a row is headed.

    >>> short_name("image_retrieval_recall@1"), short_name("text_retrieval rank"), short_name("memory_mib")
    ('image R@1', 'text rank', 'memory MiB')
    """
    metric = metric.replace("_retrieval_", " ").replace("_retrieval ", " ").replace("recall@", "R@")
    return metric.replace("_", " ").replace(" mib", " MiB")


# metrics of which less is better
LESS = ("median_rank", "parameters", "ms_per", "memory", "mae", "CHAIR")
NO_SHARES = ("CIDEr", "mae", "pearson")  # metrics that are no shares


def is_less(metric: str) -> bool:
    """Whether less of a metric is better."""
    return any(word in metric for word in LESS)


def large(metric: str, value: float) -> str:
    """A figure as it stands large on a page: a share in percent.

    >>> large("acc1", 0.5), large("CIDEr", 0.5)
    ('50.0%', '0.50')
    """
    return f"{value:.2f}" if metric in NO_SHARES else f"{value:.1%}"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as GitHub and pandoc read it: the first column to the left, the others, numbers, to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
