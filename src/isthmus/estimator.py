"""The estimator: a table in, a trained multimodal autoencoder, its codes, translations and filled gaps out.

Shapes: `N` rows of a table, `D` latent dimensions.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from isthmus import __version__, saving
from isthmus.batch import Batch, Masked, Values
from isthmus.data.prepare import CHUNK, Prepared, data_hash, normalise, prepare, prepare_training
from isthmus.data.schema import Schema
from isthmus.data.table import read_table
from isthmus.evaluation import Split, Target, evaluate, predictability
from isthmus.imputation import Imputed, gaps, impute
from isthmus.kinds.base import Kind
from isthmus.methods.base import Method, build_method, check_options
from isthmus.methods.coupled import check_couplings, couple
from isthmus.methods.schedules import check_free_bits, leave_free
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.samplers import check_sampler, fit_samplers, samplers_like
from isthmus.suggest import nearest
from isthmus.training import History, TrainingConfig, train

DEFAULT_METHOD = "mvtcae"
MAX_COMPARED = 2_000  # training items that say how much of a modality the others tell
MAX_SCORED = 10_000  # items of a split that are scored, or that floors are fitted on
# Numbers of one modality's items that are compared or scored: 512 MiB in float64, some of which stand in memory at a
# time. Of pictures of 64x64 pixels in colours these are 5,461, of 128x128 1,365.
MAX_NUMBERS = 2**26
FEWEST = 64  # items of any size: of fewer no score can be trusted
ROLES = ("key", "ignore", "label", "split", "group", "kinds", "modalities")


@dataclass(frozen=True)
class Codes:
    """Codes of the rows of a table, in its order.

    Args:
        keys: Name of each row.
        code: `(N, D)` float32: what modalities share, where a method also has private codes.
        spread: `(N, D)`, standard deviations, or None where the method has none.
        observed: Modalities that each row has, by number, `(N,)`. Zero means that nothing could be read: the row's code
            is that of the prior.
    """

    keys: list[str]
    code: np.ndarray
    spread: np.ndarray | None
    observed: np.ndarray


class Autoencoder:
    """A multimodal autoencoder over tables.

    Args:
        method: Name of a published method; `isthmus.list_methods()`.
        latent_dim: Dimensions of the code.
        options: Options of the method.
        couplings: What holds the codes of modalities together beside the method, with weights by name, as in
            `{"contrastive": 0.1}`; names alone take default weights. `isthmus.methods.couple` says what a weight means.
        free_bits: Bits of an item's divergence that cost nothing (Kingma et al. 2016), against codes that say nothing.
        sampler: What new items are drawn from: "mixture", "flow" or "diffusion", fitted to the codes of the training
            items, or "prior", the model's own density of codes. None takes the method's own, for most "mixture". Draws
            for known items heed the mixture with each of the first three.
        width: Features of each encoder.
        key: Column that names items.
        ignore: Columns to leave out.
        label: Columns kept for evaluation, never shown to the model.
        split: Column that says train, validation or test.
        group: Column whose equal values stay in one split.
        kinds: Kind by column, where it is not to be guessed.
        modalities: Columns by modality, where they are to be grouped otherwise.
        settings: Settings of kinds, by modality, as in `{"photo": {"size": 32}}`.
        encoder: Modules of your own by modality: any `nn.Module` from rows to features `(n, F)`.
        decoder: Modules of your own by modality, from codes `(R, latent_dim)`, with private codes as many more, to what
            the kind's likelihood takes.
        training: Settings of the training by name: epochs, batch_size, learning_rate, seed ... of `TrainingConfig`.

    Raises:
        ValueError: An unknown method or setting, with the nearest right name.
    """

    schema_: Schema
    kinds_: dict[str, Kind]
    method_: Method
    splits_: dict[str, str]
    made_: dict[str, Any]
    examples_: dict[str, Values]

    def __init__(
        self,
        method: str = DEFAULT_METHOD,
        latent_dim: int = 64,
        *,
        options: Mapping[str, Any] | None = None,
        couplings: str | Iterable[str] | Mapping[str, float | None] = (),
        free_bits: float = 0.0,
        sampler: str | None = None,
        width: int = 256,
        key: str | None = None,
        ignore: str | Iterable[str] = (),
        label: str | Iterable[str] = (),
        split: str | None = None,
        group: str | None = None,
        kinds: Mapping[str, str] | None = None,
        modalities: Mapping[str, str | Iterable[str]] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        encoder: Mapping[str, nn.Module] | None = None,
        decoder: Mapping[str, nn.Module] | None = None,
        **training: Any,
    ):
        check_options(method, options)
        check_couplings(couplings)
        for name in training:
            known = [*TrainingConfig.model_fields, *inspect.signature(Autoencoder).parameters]
            if name not in TrainingConfig.model_fields:
                raise ValueError(f"Autoencoder has no setting '{name}'.{nearest(name, known)}")
        if not all(isinstance(size, int) and size >= 1 for size in (latent_dim, width)):
            raise ValueError(f"latent_dim is {latent_dim} and width is {width}. Expected whole numbers of at least 1.")
        self.method, self.latent_dim, self.options, self.couplings = method, latent_dim, options, couplings
        self.width, self.free_bits = width, check_free_bits(free_bits)
        self.sampler = None if sampler is None else check_sampler(sampler)
        self.key, self.ignore, self.label, self.split, self.group = key, ignore, label, split, group
        self.kinds, self.modalities, self.settings = kinds, modalities, settings
        self.encoder, self.decoder, self.training = encoder, decoder, _training(training)

    # --- training -------------------------------------------------------------------------------------------------

    def fit(
        self,
        table: Any,
        *,
        out: str | os.PathLike[str] | None = None,
        resume: bool = False,
        quiet: bool = True,
        say: Callable[[str], None] | None = None,
    ) -> Self:
        """Train on a table.

        Args:
            table: Anything that `isthmus.read_table` takes.
            out: Folder for checkpoints and logs; none are written without one.
            resume: Go on from the last checkpoint in `out`.
            quiet: Show no progress.
            say: Told what is being done.

        Raises:
            ValueError: There is nothing to train on, or a name is unknown; the message says what to do.
        """
        self.prepare_fit(table, out=out, say=say)
        return self.train_prepared(out=out, resume=resume, quiet=quiet)

    def prepare_fit(
        self, table: Any, *, out: str | os.PathLike[str] | None = None, say: Callable[[str], None] | None = None
    ) -> Prepared:
        """Read the table, infer what its columns are, fit kinds, decode every cell: all of `fit` before training."""
        source = read_table(table)
        self.prepared_ = prepare_training(
            source,
            roles={name: getattr(self, name) for name in ROLES},
            settings=self.settings,
            folder=None if out is None else Path(out) / "store",
            say=say or (lambda text: None),
        )
        prepared = self.prepared_
        self.schema_, self.kinds_ = prepared.schema, dict(prepared.kinds)
        self.splits_ = dict(zip(prepared.keys, prepared.split.tolist(), strict=True))
        self.examples_ = {name: _example(prepared, name) for name in self.kinds_}
        self.made_ = {
            "isthmus": __version__,
            "torch": str(torch.__version__),
            "source": source.source,
            "data_hash": data_hash(source),
            "items": {name: int((prepared.split == name).sum()) for name in ("train", "validation", "test")},
            "rejected": len(prepared.rejected),
            "notes": list(prepared.notes),
            "predictability": self._predictability(prepared),
        }
        self._build()
        return prepared

    def train_prepared(
        self,
        *,
        out: str | os.PathLike[str] | None = None,
        resume: bool = False,
        quiet: bool = True,
        say: Callable[[str], None] | None = None,
    ) -> Self:
        """Train on what `prepare_fit` read."""
        prepared = self.prepared_
        self.history_: History = train(
            self.method_,
            prepared.store,
            prepared.normalise,
            {name: prepared.rows(name) for name in ("train", "validation")},
            self.training,
            run_folder=None if out is None else Path(out),
            resume=resume,
            quiet=quiet,
        )
        self.model.eval()
        self.made_ |= {
            "epochs": self.history_.num_epochs,
            "best_epoch": self.history_.best_epoch,
            "seconds": round(self.history_.seconds, 1),
            "warnings": self.history_.warnings,
        }
        rows = prepared.rows("train")
        observed = torch.stack([prepared.store.present(name)[rows] for name in self.kinds_]).sum(dim=0)
        if say is not None and self._sampler in ("flow", "diffusion"):  # which may take a minute
            say(f"Fitting a {self._sampler} to the codes of {len(rows):,} items")
        for part, fitted in fit_samplers(self._sampler, self.history_.codes, observed, self.training.seed).items():
            setattr(self.model, part, fitted.to(self.model.device))
        return self

    @property
    def _sampler(self) -> str:
        return self.method_.sampler if self.sampler is None else self.sampler

    def _predictability(self, prepared: Prepared) -> dict[str, float]:
        """What the other modalities tell of each, on some training items, evenly spaced."""
        rows = prepared.rows("train")
        some = rows[:: -(-len(rows) // _affordable(prepared, MAX_COMPARED))]
        columns = {name: Target.from_kind(kind).columns for name, kind in self.kinds_.items()}
        # Rounded, so that another order of the same sums does not change a weight.
        return {name: round(share, 3) for name, share in predictability(prepared.batch(some), columns).items()}

    @torch.inference_mode(False)  # weights that are made in it can never be trained
    def _build(self) -> None:
        """Make the method's networks; initial weights follow from the seed."""
        for part in ("encoder", "decoder"):
            for name in getattr(self, part) or {}:
                if name not in self.kinds_:
                    raise ValueError(
                        f"{part} names an unknown modality '{name}'. There are {', '.join(self.kinds_)}."
                        f"{nearest(name, self.kinds_)}"
                    )
        state = torch.get_rng_state()
        torch.manual_seed(self.training.seed)
        try:
            encoder, decoder = self.encoder or {}, self.decoder or {}
            told = self.made_.get("predictability", {})
            modalities = {
                name: Modality.from_kind(
                    kind, self.examples_[name], self.width, encoder.get(name), decoder.get(name), told.get(name)
                )
                for name, kind in self.kinds_.items()
            }
            method = build_method(self.method, modalities, latent_dim=self.latent_dim, options=self.options)
            self.method_ = couple(leave_free(method, self.free_bits), self.couplings)
        finally:
            torch.set_rng_state(state)

    # --- use ------------------------------------------------------------------------------------------------------

    @property
    def model(self) -> MultimodalAutoencoder:
        """The trained model.

        Raises:
            RuntimeError: There is none yet.
        """
        if not hasattr(self, "method_"):
            raise RuntimeError("This Autoencoder is not trained yet. Call fit(table) first, or isthmus.load(path).")
        return self.method_.model

    def prepare(
        self, table: Any, needed: Iterable[str] | None = None, rows: Sequence[int] | np.ndarray | None = None
    ) -> Prepared:
        """Read a new table, or one that was trained on, with the kinds of this model.

        Args:
            table: Rows.
            needed: Modalities to read; all if not given.
            rows: Positions of the rows to read, from 0; all if not given. A part that is cut out before has lost what
                tells a table without a key as the one that was trained on.
        """
        self._require_trained()
        source = read_table(table)
        # Without a key, rows are named by their number: row 7 of another table is not the item that was trained on.
        known = self.schema_.key in source.columns or data_hash(source) == self.made_["data_hash"]
        source = source if rows is None else source.take(rows)
        return prepare(source, self.schema_, self.kinds_, self.splits_ if known else None, needed)

    def embed(self, table: Any) -> Codes:
        """Codes with their spread, one per row in the order of the table, whatever is missing."""
        return self.embed_prepared(self._prepared(table))

    @torch.inference_mode()
    def embed_prepared(self, prepared: Prepared) -> Codes:
        """As `embed`, of a table that is already read."""
        codes, spreads, observed = [], [], []
        for batch in self._batches(prepared):
            posterior = self.model.encode(batch)
            codes.append(self.model.shared(posterior.mean).float().cpu())
            if posterior.spread is not None:
                spreads.append(self.model.shared(posterior.spread).float().cpu())
            observed.append(batch.presence().sum(dim=0).cpu())
        return Codes(
            list(prepared.keys),
            torch.cat(codes).numpy(),
            torch.cat(spreads).numpy() if spreads else None,
            torch.cat(observed).numpy(),
        )

    def transform(self, table: Any) -> np.ndarray:
        """Codes `(N, D)`, one per row in the order of the table, whatever is missing; the prior's where all is."""
        return self.embed(table).code

    def fit_transform(self, table: Any, **arguments: Any) -> np.ndarray:
        """`fit`, then the codes of all rows."""
        self.fit(table, **arguments)
        return self.embed_prepared(self.prepared_).code

    def translate(
        self, table: Any, source: str | Sequence[str], target: str, *, num_draws: int = 0, seed: int = 0
    ) -> list[Any]:
        """Cells of `target`, made from the modalities `source` of each row, in the order of the table.

        Args:
            table: Rows; one that lacks all of `source` is translated from the prior.
            source: Modalities, or columns of a table modality.
            target: A modality, or a column of a table modality.
            num_draws: 0 takes the code's mean and the likeliest event. Else each row gets a list of so many cells,
                each from a code drawn anew.
            seed: Of the draws.

        Returns:
            `N` cells: pictures, strings, waveforms, dicts, arrays, or the value of one column.
        """
        return self.translate_prepared(self._prepared(table), source, target, num_draws=num_draws, seed=seed)

    @torch.inference_mode()
    def translate_prepared(
        self, prepared: Prepared, source: str | Sequence[str], target: str, *, num_draws: int = 0, seed: int = 0
    ) -> list[Any]:
        """As `translate`, of a table that is already read."""
        sources = [self.resolve(name) for name in ([source] if isinstance(source, str) else source)]
        name, column = self.resolve(target)
        if not sources:
            raise ValueError("translate needs at least one source. Name a modality or a column.")
        columns = {modality: [c for m, c in sources if m == modality] for modality, _ in sources}
        cells: list[Any] = []
        for chunk, batch in enumerate(self._batches(prepared)):
            batch = self._only_columns(batch, columns)
            if not num_draws:
                cells += self._cells(name, column, self.model.translate(batch, list(columns), name))
                continue
            drawn = [
                self._cells(name, column, self.model.translate(batch, list(columns), name, Noise(seed + draw, chunk)))
                for draw in range(num_draws)
            ]
            cells += [list(row) for row in zip(*drawn, strict=True)]
        return cells

    def observed(self, prepared: Prepared, source: Sequence[str]) -> np.ndarray:
        """How many of the modalities or columns `source` each row has, integers `(N,)`."""
        there = np.zeros((len(source), len(prepared.keys)), dtype=bool)
        for place, (name, column) in enumerate(map(self.resolve, source)):
            there[place] = prepared.store.present(name) if column is None else ~gaps(prepared, name)[column]
        return there.sum(axis=0)

    @torch.inference_mode()
    def reconstruct(self, table: Any) -> dict[str, list[Any]]:
        """Cells of every modality from all that each row has, by modality: what was seen, and what was not."""
        made: dict[str, list[Any]] = {name: [] for name in self.model.modalities}
        for batch in self._batches(self._prepared(table)):
            for name, values in self.model.reconstruct(batch).items():
                made[name] += self._cells(name, None, values)
        return made

    def impute(self, table: Any, *, num_draws: int = 0, seed: int = 0) -> Imputed:
        """Fill the gaps of a table, blanks inside its rows of columns too; what is there stays as it is.

        Args:
            table: Anything that `isthmus.read_table` takes.
            num_draws: Draws for the spread of numbers; the value filled in is the likeliest either way.
            seed: Of the draws.
        """
        source = read_table(table)
        return self.impute_prepared(self.prepare(source), num_draws=num_draws, seed=seed)

    @torch.inference_mode()
    def impute_prepared(self, prepared: Prepared, *, num_draws: int = 0, seed: int = 0) -> Imputed:
        """As `impute`, of a table that is already read."""
        return impute(self.model, prepared, self._batches(prepared), num_draws=num_draws, seed=seed)

    def evaluate(
        self,
        table: Any,
        *,
        label: str | None = None,
        train: Any = None,
        seed: int = 0,
        num_draws: int = 64,
        say: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Scores on the items of a table that were not trained on, each beside floors that need no network.

        At most 10,000 training and 10,000 test items are used, drawn at random; of large ones, such as pictures of
        64x64 pixels in colours, only so many that no modality holds more than 2**26 numbers, as the result notes.

        Args:
            table: Its test items are scored; items that the training did not know are test items.
            label: Column for probes, clusters and coherence; the first label column if not given. One that was trained
                on is hidden from the encoders.
            train: The table that was trained on, for floors and judges, where `table` does not hold its items.
            seed: Of everything that is drawn.
            num_draws: Of the likelihoods.
            say: Told what is being done.

        Returns:
            See `isthmus.evaluation.evaluate`.

        Raises:
            ValueError: No such label column, no training items, or no test items.
        """
        tested = self._prepared(table)
        trained = tested if train is None else self._prepared(train)
        label = next(iter(self.schema_.labels), None) if label is None else label
        rows = {"train": trained.rows("train"), "test": tested.rows("test")}
        for name, found in rows.items():
            if not len(found):
                given = "Give the table that was trained on, as train=..." if name == "train" else "Give new rows."
                raise ValueError(f"This table has no {name} items. {given}")
        hidden = [] if label is None else [plan for plan in self.schema_.modalities.values() if label in plan.columns]
        result = evaluate(
            self.model,
            self._split(trained, rows["train"], label, seed),
            self._split(tested, rows["test"], label, seed),
            density=self.method_.capabilities.density,
            label=label,
            targets={name: Target.from_kind(kind) for name, kind in self.kinds_.items()},
            sampler=self.model.draw if self.method_.capabilities.generative else None,
            seed=seed,
            num_draws=num_draws,
            progress=say,
        )
        for name, prepared in (("train", trained), ("test", tested)):
            count, used = len(rows[name]), _affordable(prepared, MAX_SCORED)
            if used < min(count, MAX_SCORED):
                result["notes"].append(
                    f"Of {count:,} {name} items, {used:,} drawn at random were used: their largest modality has "
                    f"{prepared.store.largest_row:,} numbers an item, and {MAX_NUMBERS:,} are held in memory."
                )
        for plan in hidden:
            what = f"in modality '{plan.name}' " if len(plan.columns) > 1 else ""
            result["notes"].append(f"Label '{label}' was trained on; here it was hidden {what}from the model.")
        return result

    def _split(self, prepared: Prepared, rows: Tensor, label: str | None, seed: int) -> Split:
        """Items to score, or to fit floors on: as many as can be held, without the column that they are labelled by."""
        most = _affordable(prepared, MAX_SCORED)
        if len(rows) > most:
            rows = rows[Noise(seed).uniform("evaluation/items", len(rows), like=torch.zeros(1)).argsort()[:most]]
            rows = rows.sort().values
        batch = prepared.batch(rows)
        labels = {}
        if label is not None:
            cells = prepared.table[label]
            labels[label] = [None if cells[row] is None else str(cells[row]) for row in rows.tolist()]
            for name, plan in self.schema_.modalities.items():
                if label in plan.columns:
                    others = [c for c in getattr(self.kinds_[name], "column_names", ()) if c != label]
                    batch = self._only_columns(batch, {name: others}) if others else batch.drop(name)
        return Split(batch, labels, [prepared.keys[row] for row in rows.tolist()])

    def generate(self, num_items: int, *, seed: int = 0) -> dict[str, list[Any]]:
        """New items: cells of every modality by name, `num_items` each, all of an item from one code.

        Codes are drawn as `sampler` says.
        """
        with torch.inference_mode():
            z = self.draw_codes(num_items, seed)
            return {name: self._cells(name, None, values) for name, values in self.model.generate(z).items()}

    def draw_codes(self, num_items: int, seed: int = 0) -> Tensor:
        """Codes `(num_items, D)` of new items."""
        return self.model.draw(num_items, Noise(seed))

    # --- saving ---------------------------------------------------------------------------------------------------

    def to_config(self) -> dict[str, Any]:
        """The constructor's arguments that are not modules and differ from their defaults: what one would type."""
        config: dict[str, Any] = {}
        for name, parameter in inspect.signature(Autoencoder).parameters.items():
            if name in ("encoder", "decoder", "training"):
                continue
            value = getattr(self, name)
            value = list(value) if isinstance(value, tuple | set | frozenset) else value
            if value != parameter.default and value not in ([], {}, None):
                config[name] = dict(value) if isinstance(value, Mapping) else value
        return config | self.training.model_dump(exclude_defaults=True)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the trained model: JSON and plain tensors, no code."""
        self._require_trained()
        tensors = saving.pack("model", self.model.state_dict())
        for name, example in self.examples_.items():
            tensors |= saving.pack_values(f"example/{name}", example)
        config = {
            "settings": self.to_config(),
            "schema": self.schema_.to_config(),
            "kinds": {name: kind.to_config() for name, kind in self.kinds_.items()},
            "custom": {part: sorted(getattr(self, part) or {}) for part in ("encoder", "decoder")},
            "splits": self.splits_,
            "made": self.made_,
        }
        saving.write_model(Path(folder), config, tensors, self._card())

    def _card(self) -> str:
        lines = [f"- {name}: {kind.name}, {kind.describe()}" for name, kind in self.kinds_.items()]
        items = ", ".join(f"{count:,} {name}" for name, count in self.made_["items"].items())
        return (
            f"# {self.method}\n\nA multimodal autoencoder with a code of {self.latent_dim} numbers, trained by Isthmus "
            f"{self.made_['isthmus']} on {items} items.\n\n" + "\n".join(lines) + "\n\nOpen it with "
            "`isthmus.load(path)`.\n"
        )

    # --- helpers --------------------------------------------------------------------------------------------------

    def _require_trained(self) -> None:
        assert self.model is not None

    def _prepared(self, table: Any) -> Prepared:
        return table if isinstance(table, Prepared) else self.prepare(table)

    def _batches(self, prepared: Prepared) -> Iterator[Batch]:
        # Whoever takes these has inference mode on: a generator that stops half way would leave it on for its caller.
        self.model.eval()
        for rows in torch.arange(len(prepared.keys)).split(CHUNK):
            yield normalise(self.kinds_, prepared.store.batch(rows).to(self.model.device))

    def resolve(self, name: str) -> tuple[str, str | None]:
        """What a name means: a modality and None, or a table modality and one of its columns.

        Raises:
            ValueError: Neither, with the nearest; or a column that training had to leave out.
        """
        self._require_trained()
        tables = [plan for plan in self.schema_.modalities.values() if plan.kind == "table"]
        columns = {column: plan.name for plan in tables for column in plan.columns}
        # A lone column gives its modality its own name; it is meant as the column, whose cells are plain values.
        if name in columns and (name not in self.kinds_ or columns[name] == name):
            self.kinds_[columns[name]].column_mask(name)  # type: ignore[attr-defined]
            return columns[name], name
        if name in self.kinds_:
            return name, None
        known = dict.fromkeys([*self.kinds_, *columns])
        raise ValueError(
            f"There is no modality or column '{name}'. There are {', '.join(known)}.{nearest(name, known)}"
        )

    def _only_columns(self, batch: Batch, columns: Mapping[str, Sequence[str | None]]) -> Batch:
        """The batch with the columns of table modalities masked that are no source."""
        values = dict(batch.values)
        kept = {}
        for name, named in columns.items():
            rows = values.get(name)
            if None in named or not isinstance(rows, Masked):
                continue
            wanted = self.kinds_[name].column_mask([c for c in named if c is not None]).to(rows.mask.device)  # type: ignore[attr-defined]
            left = rows.mask & wanted
            values[name] = Masked(rows.value, left)
            some = torch.ones(len(batch), dtype=torch.bool, device=batch.device)
            some[batch.rows(name)] = left.any(dim=1)
            kept[name] = some
        return Batch(values, batch.present, batch.index).keep(kept)

    def _cells(self, name: str, column: str | None, values: Values) -> list[Any]:
        cells = [self.schema_.restore(name, cell) for cell in self.kinds_[name].cells(values)]
        return cells if column is None else [cell[column] for cell in cells]


def load(
    path: str | os.PathLike[str],
    *,
    encoder: Mapping[str, nn.Module] | None = None,
    decoder: Mapping[str, nn.Module] | None = None,
    device: str | torch.device | None = None,
) -> Autoencoder:
    """Open a trained model: a run's folder, or one that `Autoencoder.save` wrote.

    Args:
        path: The folder.
        encoder: The modules of your own that it was trained with, by modality.
        decoder: As `encoder`.
        device: Where to put it; a CUDA device if there is one, by default.

    Raises:
        FileNotFoundError: There is no model in the folder.
        ValueError: Weights do not fit, or a module of your own is missing; the message shows the call.
    """
    folder = Path(path)
    folder = folder / "model" if (folder / "model" / "config.json").is_file() else folder
    config, tensors = saving.read_model(folder)
    for part, given in (("encoder", encoder), ("decoder", decoder)):
        missing = [name for name in config["custom"][part] if name not in (given or {})]
        if missing:
            raise ValueError(
                f"This model was trained with {part}s of your own for {', '.join(missing)}. Files hold no code: give "
                f"the modules again, as in {saving.load_call(config['custom'])}."
            )
    estimator = Autoencoder(**config["settings"], encoder=encoder, decoder=decoder)
    estimator.schema_ = Schema.from_config(config["schema"])
    estimator.kinds_ = {name: Kind.from_config(kind) for name, kind in config["kinds"].items()}
    estimator.splits_, estimator.made_ = config["splits"], config["made"]
    estimator.examples_ = {name: saving.unpack_values(f"example/{name}", tensors) for name in estimator.kinds_}
    estimator._build()
    weights = saving.unpack("model", tensors)
    for part, sampler in samplers_like(estimator._sampler, weights).items():
        setattr(estimator.model, part, sampler)
    saving.load_weights(estimator.model, weights, config["custom"])
    estimator.model.to(saving.default_device() if device is None else torch.device(device)).eval()
    return estimator


def _training(settings: Mapping[str, Any]) -> TrainingConfig:
    try:
        return TrainingConfig(**settings)
    except ValidationError as error:
        wrong = [f"{entry['loc'][0]} is {entry['input']!r}: {entry['msg'].lower()}" for entry in error.errors()]
        raise ValueError("; ".join(wrong)) from None


def _affordable(prepared: Prepared, most: int) -> int:
    """`most` items, or as many as hold `MAX_NUMBERS` numbers of their largest modality."""
    return min(most, max(FEWEST, MAX_NUMBERS // max(1, prepared.store.largest_row)))


def _example(prepared: Prepared, name: str) -> Values:
    """Two normalised training rows of a modality, to try networks on."""
    rows = prepared.rows("train")
    there = rows[prepared.store.present(name)[rows]]
    if not len(there):
        raise ValueError(f"No training item has a readable '{name}'. Leave it out with ignore, or mend its cells.")
    return prepared.batch(there[:2]).values[name]
