"""For those who build on Isthmus: a world with a known answer, and the laws that every method keeps."""

from isthmus.testing.conformance import CHECKS, Check, check_method, run_check, toy_batch, toy_modalities
from isthmus.testing.worlds import LinearGaussian, importance_weighted_bound

__all__ = [
    "CHECKS",
    "Check",
    "LinearGaussian",
    "check_method",
    "importance_weighted_bound",
    "run_check",
    "toy_batch",
    "toy_modalities",
]
