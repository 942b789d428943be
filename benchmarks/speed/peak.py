"""The most memory that this process needs while one library trains one epoch: prints it, in MiB.

    python benchmarks/speed/peak.py LIBRARY PEER METHOD BATCH ITEMS

`LIBRARY` is "isthmus", with the objective of `PEER`'s method, or the peer itself. Nothing is imported that the library
and its networks do not need.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch
from peers import Peer, build
from peers_networks import pictures


def main() -> None:
    library, peer, method = sys.argv[1:4]
    batch, items = map(int, sys.argv[4:])
    generator = torch.Generator().manual_seed(0)
    task = pictures()
    values = {name: torch.rand(items, *shape, generator=generator) for name, shape in task.shapes.items()}
    made(library, peer, method).train(values, batch_size=batch)
    print(peak_mib())


def made(library: str, peer: str, method: str) -> Peer:
    if library != "isthmus":
        return build(library, method, pictures())
    from ours import of_pair
    from pairs import pair

    return of_pair(pair(peer, method), pictures())


def peak_mib() -> float:
    """Of this process. Linux hands on to `ru_maxrss` what the process that started this one had needed until then, so
    that the kernel's own account of the present memory comes first.
    """
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    most = found[0] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1024 if sys.platform != "darwin" else 1024**2)


if __name__ == "__main__":
    main()
