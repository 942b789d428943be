from torchvision import Absent as download_and_extract_archive  # noqa: F401
