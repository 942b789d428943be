"""Training in half precision: what a GPU asks for, held on a CPU, which asks for less."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from isthmus.methods import couple, list_methods
from isthmus.methods.base import build_method
from isthmus.noise import Noise
from isthmus.objectives.couplings import COUPLINGS
from isthmus.testing.conformance import terms_of, toy_batch, toy_modalities

# What a CPU casts by itself, and a GPU does not: the target and what is put into it have to be of one type. The place
# of the source among the arguments.
WANT_ONE_TYPE = {Tensor.index_copy: 3, Tensor.index_add: 3, Tensor.scatter: 3, Tensor.index_put: 2, Tensor.lerp: 1}


class AsOnAGPU(TorchFunctionMode):
    """Refuses what CUDA refuses."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in WANT_ONE_TYPE and isinstance(source := args[WANT_ONE_TYPE[func]], Tensor):
            assert source.dtype == args[0].dtype, f"{func.__name__} of {source.dtype} into {args[0].dtype}"
        return func(*args, **(kwargs or {}))


def check(method: Any) -> None:
    with AsOnAGPU(), torch.autocast("cpu", torch.bfloat16):
        terms = terms_of(method, toy_batch(3, 40))
    loss = torch.stack([term.loss for term in terms]).sum()
    assert loss.dtype == torch.float32 and bool(loss.isfinite())
    loss.backward()
    gradients = [p.grad for p in method.model.parameters() if p.grad is not None]
    assert gradients and all(bool(gradient.isfinite().all()) for gradient in gradients)


@pytest.mark.parametrize("name", list_methods())
def test_every_method_takes_a_step(name):
    torch.manual_seed(0)
    check(build_method(name, toy_modalities(3), latent_dim=4))


@pytest.mark.parametrize("name", COUPLINGS)
def test_every_coupling_takes_a_step(name):
    torch.manual_seed(0)
    check(couple(build_method("mvtcae", toy_modalities(3), latent_dim=4), [name]))


@pytest.mark.parametrize("family", ["uniform", "normal", "laplace", "gumbel"])
def test_noise_is_finite_and_as_wide_as_ever(family):
    like = torch.empty(0, dtype=torch.bfloat16)
    coarse, fine = (getattr(Noise(0), family)("x", 100_000, like=one) for one in (like, like.float()))
    assert coarse.dtype == torch.bfloat16 and bool(coarse.isfinite().all())
    torch.testing.assert_close(coarse.float(), fine, rtol=2**-8, atol=2**-8)
    if family == "uniform":
        assert coarse.min() > 0 and coarse.max() < 1


def test_what_a_gpu_refuses_is_refused_here():
    with AsOnAGPU(), pytest.raises(AssertionError, match=r"index_copy of torch.bfloat16 into torch.float32"):
        torch.zeros(3).index_copy(0, torch.tensor([1]), torch.ones(1, dtype=torch.bfloat16))
