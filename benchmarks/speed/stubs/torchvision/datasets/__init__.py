from torchvision import Absent as CelebA  # noqa: F401
from torchvision import Absent as MNIST  # noqa: F401
from torchvision import Absent as SVHN  # noqa: F401
