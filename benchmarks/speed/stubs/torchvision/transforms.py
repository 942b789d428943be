from torchvision import Absent as ToTensor  # noqa: F401  # made once at import: multivae/data/datasets/translated_mmnist.py:67
