"""Training of any method: one loop over phases and players, which stops and goes on without a trace."""

from isthmus.training.config import TrainingConfig, default_epochs
from isthmus.training.errors import NonFiniteLoss, TrainingInterrupted
from isthmus.training.loop import History, encode, train

__all__ = ["History", "NonFiniteLoss", "TrainingConfig", "TrainingInterrupted", "default_epochs", "encode", "train"]
