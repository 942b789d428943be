"""Scores of a trained model on items it has not seen, each beside floors that need no network."""

from isthmus.evaluation.features import Target
from isthmus.evaluation.predictability import predictability
from isthmus.evaluation.scores import evaluate
from isthmus.evaluation.study import Split

__all__ = ["Split", "Target", "evaluate", "predictability"]
