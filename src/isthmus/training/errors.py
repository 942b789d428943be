"""Why a training may end early."""

from __future__ import annotations


class TrainingInterrupted(Exception):
    """Someone asked the training to stop (Ctrl-C, SIGTERM). The message says where it stands and how to go on."""


class NonFiniteLoss(ArithmeticError):
    """The loss or a gradient became infinite or no number. The model holds its last good state; the message names the
    items, the terms, and what to try.
    """
