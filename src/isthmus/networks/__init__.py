"""Default networks, usable without the rest: each is a plain `nn.Module` from tensors to tensors."""
