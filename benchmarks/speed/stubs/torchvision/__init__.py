"""Stands in for torchvision, which MultiVae imports with its data sets and whose wheels bring a CUDA build of torch.

These are the names that `multivae.models`, `multivae.data` and `multivae.trainers` ask for as they are imported. None
does any work, and none is reached by training, encoding or scoring. `multivae.metrics` needs more and does not import.
"""


class Absent:
    """Can be named, and made with default arguments; that it cannot be used is said by whatever uses it."""

    def __init__(self, *args: object, **options: object) -> None: ...
