"""One self-contained page about a run: what was learned from what, how well, and how it was made."""

from isthmus.report.page import write_report

__all__ = ["write_report"]
