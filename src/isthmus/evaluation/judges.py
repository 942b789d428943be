"""Judges: classifiers trained on real cells, which say what class a generated one shows.

Shapes: `n` rows, `F` features. Classes are numbers from 0; -1 means that a judge sees no class.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from isthmus.batch import Values, take, to_device
from isthmus.evaluation.codes import CHUNK
from isthmus.model import pool

BATCH_SIZE = 128
# Training ends before its time where the loss of the last steps, in nats, leaves nothing to learn.
LEARNT, NUM_LAST_STEPS = 0.001, 20


class Network(nn.Module):
    """An encoder and a linear layer on its normalised features."""

    def __init__(self, encoder: nn.Module, example: Values, num_classes: int):
        super().__init__()
        self.encoder = encoder
        with torch.no_grad():
            width = pool(encoder(example)).shape[1]
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def features(self, values: Values) -> Tensor:
        normalised: Tensor = self.norm(pool(self.encoder(values)))
        return normalised

    def forward(self, values: Values) -> Tensor:
        logits: Tensor = self.head(self.features(values))
        return logits


@dataclass(frozen=True)
class NetworkJudge:
    """A trained network: the supervised reference of its modality, and a judge of what is generated."""

    network: Network
    device: torch.device
    name = "network"

    def _over(self, function: Callable[[Values], Tensor], values: Values) -> Tensor:
        with torch.no_grad():
            parts = [
                function(to_device(take(values, rows), self.device, torch.float32)).cpu()
                for rows in torch.arange(len(values)).split(CHUNK)
            ]
        return torch.cat(parts)

    def log_prob(self, values: Values) -> np.ndarray:
        """Log-probability of each class, `(n, classes)`."""
        return self._over(self.network, values).double().log_softmax(dim=1).numpy()

    def predict(self, values: Values) -> np.ndarray:
        return self.log_prob(values).argmax(axis=1)

    def features(self, values: Values) -> np.ndarray:
        """What the last layer sees, `(n, F)`."""
        return self._over(self.network.features, values).double().numpy()


def train_judge(
    encoder: Callable[[], nn.Module],
    values: Values,
    labels: np.ndarray,
    num_classes: int,
    *,
    seed: int,
    device: torch.device,
    num_steps: int,
) -> NetworkJudge:
    """Train a fresh encoder with a linear layer on real rows; the same seed gives the same judge.

    Args:
        encoder: Builds the network.
        values: Normalised training rows.
        labels: Their classes `(n,)`.
        num_classes: Number of classes.
        seed: Of the weights and of the order of rows.
        device: Where to train.
        num_steps: At most, of 128 rows each; 500 are eight rounds over 8,000 rows.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        example = to_device(take(values, torch.arange(min(2, len(values)))), dtype=torch.float32)
        network = Network(encoder(), example, num_classes).to(device)
    classes = torch.as_tensor(labels)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=num_steps, pct_start=0.2)
    generator = torch.Generator().manual_seed(seed)
    network.train()
    with torch.enable_grad():
        queue = torch.zeros(0, dtype=torch.long)
        losses: deque[float] = deque(maxlen=NUM_LAST_STEPS)
        for _ in range(num_steps):
            while len(queue) < min(BATCH_SIZE, len(classes)):
                queue = torch.cat([queue, torch.randperm(len(classes), generator=generator)])
            rows, queue = queue[:BATCH_SIZE], queue[BATCH_SIZE:]
            logits = network(to_device(take(values, rows), device, torch.float32))
            loss = nn.functional.cross_entropy(logits, classes[rows].to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
            if len(losses) == NUM_LAST_STEPS and sum(losses) < LEARNT * NUM_LAST_STEPS:
                break
    return NetworkJudge(network.eval(), device)


@dataclass(frozen=True)
class WordJudge:
    """Reads a class from a text by the words that only texts of that class hold.

    Args:
        meaning: Word to class.
        cells: Normalised values to strings; None where texts themselves are judged.
    """

    meaning: Mapping[str, int]
    cells: Callable[[Values], list[str]] | None = None
    name = "words"

    def predict(self, values: Values) -> np.ndarray:
        assert self.cells is not None
        return self.read(self.cells(values))

    def read(self, texts: Sequence[str]) -> np.ndarray:
        """The class each text speaks of; -1 where it names none, or several."""
        classes = [{self.meaning[word] for word in words(text) if word in self.meaning} for text in texts]
        return np.array([found.pop() if len(found) == 1 else -1 for found in classes], dtype=np.int64)


def word_judge(
    texts: Sequence[str],
    labels: np.ndarray,
    cells: Callable[[Values], list[str]] | None = None,
    min_share: float = 0.02,
) -> WordJudge:
    """Learn which words give a class away: those in at least `min_share` of its texts (and two), and in no other's.

    The share keeps out words that stand beside a class by chance. Text without spaces between words, as Chinese has,
    is read by its strings of up to four characters.
    """
    count: Counter[tuple[str, int]] = Counter()
    holders: dict[str, set[int]] = {}
    for text, label in zip(texts, labels.tolist(), strict=True):
        for word in words(text):
            count[word, label] += 1
            holders.setdefault(word, set()).add(label)
    size = Counter(labels.tolist())
    meaning = {
        word: label
        for (word, label), times in count.items()
        if len(holders[word]) == 1 and times >= max(2, min_share * size[label])
    }
    return WordJudge(meaning, cells)


def words(text: str) -> set[str]:
    """Words of a text in any language: split at spaces, bare of punctuation, case folded.

    Whole words are asked for where a language has them, so that a misspelt one says nothing.
    """
    found: set[str] = set()
    for chunk in unicodedata.normalize("NFKC", text).casefold().split():
        if any(_spaceless(character) for character in chunk):
            # With its ends marked: 十 is a part of 十七, and only where it ends is it ten.
            chunk = f"\x02{chunk}\x03"
            found.update(chunk[i : i + n] for n in (1, 2, 3, 4) for i in range(len(chunk) - n + 1))
        else:
            found.add(_bare(chunk))
    return found - {""}


# Scripts written without spaces between words: Thai to Tibetan, Myanmar, Khmer, kana, Han and its extensions.
_SPACELESS = (
    (0x0E00, 0x0FFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x9FFF),
    (0xF900, 0xFAFF),
)
_HAN_EXTENSIONS = (0x20000, 0x3FFFF)


def _spaceless(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in (*_SPACELESS, _HAN_EXTENSIONS))


def _bare(word: str) -> str:
    """Without punctuation at either end; a word of nothing else, such as "+", stays."""
    start, end = 0, len(word)
    while start < end and unicodedata.category(word[start]).startswith("P"):
        start += 1
    while end > start and unicodedata.category(word[end - 1]).startswith("P"):
        end -= 1
    return word[start:end] or word
