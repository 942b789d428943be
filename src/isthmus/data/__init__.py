"""Tables of raw cells, what their columns are for, and how their rows are split."""

from isthmus.data.rejected import Rejected, write_rejected
from isthmus.data.schema import Column, ModalityPlan, Schema, infer_schema
from isthmus.data.split import assign_split, count_duplicates, read_split
from isthmus.data.table import Table, read_table

__all__ = [
    "Column",
    "ModalityPlan",
    "Rejected",
    "Schema",
    "Table",
    "assign_split",
    "count_duplicates",
    "infer_schema",
    "read_split",
    "read_table",
    "write_rejected",
]
