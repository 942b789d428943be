"""The words of the page, for those who meet them for the first time."""

from __future__ import annotations

_TERMS = {
    "item": "One thing: one row of the table.",
    "modality": "One way in which items were observed: their picture, their sound, a group of columns.",
    "gap": "An item lacks a modality. Gaps are left out of all work; nothing is put in their place.",
    "code": (
        "The few numbers that stand for an item. Every modality is turned into the same kind of code, so that what one "
        "modality says can be compared with, and turned into, any other."
    ),
    "encoder, decoder": "The networks that make a code of a cell, and a cell of a code.",
    "route": "A way through the model: from these modalities, by the code, to that one.",
    "floor": (
        "What a method without any network reaches on the same items. A score that is not above its floors shows that "
        "the network was not needed."
    ),
    "mean": "A floor: always the average training cell (of texts, the commonest one).",
    "nearest neighbour": "A floor: the cell of the training item whose source looks most alike.",
    "linear regression, CCA, PCA": (
        "Floors from linear algebra: the best straight-line prediction, the best pair of straight-line views, and the "
        "best straight-line code of the same width."
    ),
    "training, validation, test": (
        "Items the model learned from; items that training was watched by; items kept away until all was done. Scores "
        "are of test items."
    ),
    "epoch": "One pass over all training items.",
    "loss": "What training lowers. Its unit is nats per item.",
    "nat": "A unit of information, 1.44 bits. One nat more means 2.7 times as probable.",
    "log-likelihood": "How probable the model holds a cell to be, in nats. Higher is better. Compare like with like.",
    "divergence": "How much a code says beyond what is true of all items, in nats.",
    "collapse": "The code says nothing of a modality, so that its translations would be as good for any other item.",
}


def terms() -> list[tuple[str, str]]:
    """`(word, explanation)`, in the order in which one needs them."""
    return list(_TERMS.items())
