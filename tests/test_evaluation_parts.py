from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

from isthmus.batch import Masked
from isthmus.evaluation import coherence, probes
from isthmus.evaluation.features import compact, flat_features, resample
from isthmus.evaluation.floors import CCA, PCA, Ridge, Scaling, fill_gaps, nearest_rows
from isthmus.evaluation.judges import train_judge, word_judge, words
from isthmus.evaluation.likelihood import log_evidence, mean_and_error
from isthmus.evaluation.measures import edit_distance, fit_measure
from isthmus.evaluation.retrieval import fit_cca, label_precision, recall
from isthmus.fusions import MixtureOfExperts, ProductOfExperts
from isthmus.kinds.base import pad
from isthmus.likelihoods_table import TableColumn
from isthmus.testing.worlds import LinearGaussian

COLUMNS = (TableColumn("wing", "normal"), TableColumn("male", "binary"), TableColumn("habitat", "categorical", 3))


def table(rows):
    """Masked rows of a table; None is a blank."""
    mask = torch.tensor([[cell is not None for cell in row] for row in rows])
    return Masked(torch.tensor([[0.0 if cell is None else float(cell) for cell in row] for row in rows]), mask)


def tokens(*texts):
    return pad([np.array(text, dtype=np.int64) for text in texts])


def close(x, y, atol=1e-9):
    np.testing.assert_allclose(x, y, atol=atol, rtol=0)


# --- features ---------------------------------------------------------------------------------------------------------


def test_pictures_are_pooled_to_means_of_their_squares():
    picture = torch.arange(64.0).view(1, 1, 8, 8)
    features = flat_features(picture, side=2)(picture)
    close(features, [[13.5, 17.5, 45.5, 49.5]])
    assert flat_features(picture, side=32)(picture).shape == (1, 64)


def test_resampling_keeps_the_mean_and_knows_nothing_of_padding():
    rng = np.random.default_rng(0)
    frames = [rng.normal(size=(length, 2)) for length in (3, 7, 40)]
    values = pad(frames)
    flat, lengths = compact(values)
    parts = resample(flat, lengths, 16).reshape(3, 16, 2)
    close(parts.mean(axis=1), [frame.mean(axis=0) for frame in frames])
    noise = Masked(torch.where(values.mask[..., None], values.value, torch.nan), values.mask)
    flat_noise, _ = compact(noise)
    close(resample(flat_noise, lengths, 16), parts.reshape(3, -1))


def test_resampling_integrates_over_parts_of_a_frame():
    frames = np.array([[[0.0], [1.0], [2.0]]])
    close(resample(frames, np.array([3]), 2), [[0.5 / 1.5, 2.5 / 1.5]])
    close(resample(frames, np.array([2]), 4), [[0, 0, 1, 1]])
    close(resample(frames, np.array([0]), 2), [[0, 0]])


def test_resampling_at_its_own_length_changes_nothing():
    frames = np.random.default_rng(0).normal(size=(4, 16, 3))
    close(resample(frames, np.full(4, 16), 16), frames.reshape(4, -1))


def test_steps_missing_in_the_middle_of_a_series_are_closed_up():
    values = Masked(torch.arange(4.0).view(1, 4, 1), torch.tensor([[True, False, True, False]]))
    flat, lengths = compact(values)
    assert flat[0, :, 0].tolist() == [0, 2, 0, 0] and lengths.tolist() == [2]


def test_bag_of_tokens_counts_words_and_pairs_of_training_texts_only():
    features = flat_features(tokens([1, 2], [2, 2]))
    found = features(tokens([2, 2, 2], [1, 2], [9]))
    # Words 1, 2; pairs 1-2, 2-2.
    assert found.tolist() == [[0, 3, 0, 2], [1, 1, 1, 0], [0, 0, 0, 0]]


def test_table_rows_are_one_hot_with_blanks_at_the_mean_and_marked():
    train = table([[1, 0, 2], [3, 1, 0], [None, 1, 1]])
    found = flat_features(train, COLUMNS)(table([[5, 1, 1], [None, None, None]]))
    assert found.tolist() == [[5, 0, 1, 0, 1, 0, 0], [2, 0, 0, 0, 0, 0, 1]]


# --- measures ---------------------------------------------------------------------------------------------------------


def test_the_mean_predictor_has_error_one_and_a_copy_zero():
    rng = torch.Generator().manual_seed(0)
    series = pad([np.random.default_rng(n).normal(size=(n, 2)) for n in (3, 5, 4)])
    for values in (torch.randn(20, 2, 3, generator=rng), series):
        measure = fit_measure(values)
        assert measure.score(measure.constant(len(values)), values)["error"] == pytest.approx(1)
        assert measure.score(values, values)["error"] == 0


@pytest.mark.parametrize(
    "values",
    [
        torch.randn(5, 1, 2, 2),
        torch.tensor([3, 5, 3]),
        pad([np.ones((2, 3), np.float32), np.zeros((4, 3), np.float32)]),
        table([[1, 0, 2], [3, 1, 0]]),
    ],
)
def test_dense_form_and_back_is_exact(values):
    measure = fit_measure(values, COLUMNS if isinstance(values, Masked) and values.value.dim() == 2 else ())
    assert measure.score(measure.restore(measure.dense(values)), values)["error"] == 0


def test_a_sequence_that_ends_too_early_is_the_mean_from_there_on():
    train = pad([np.array([[0.0], [0.0]]), np.array([[2.0], [4.0]])])
    measure = fit_measure(train)
    target = pad([np.array([[2.0], [4.0]])])
    early = Masked(torch.tensor([[[2.0], [9.0]]]), torch.tensor([[True, False]]))
    score = measure.score(early, target)
    # Constant: errors 1 and 2; the prediction is right at first and then at the mean: 0 and 2.
    assert score["error"] == pytest.approx(math.sqrt(4 / 5))
    assert score["length_error"] == 0.5


def test_a_target_longer_than_any_training_sequence_is_scored():
    measure = fit_measure(pad([np.ones((2, 1)), np.zeros((2, 1))]))
    target = pad([np.ones((5, 1))])
    assert measure.score(target, target)["error"] == 0
    assert measure.score(measure.constant(1), target)["error"] == pytest.approx(1)


def test_edit_distance_is_that_of_the_textbook():
    def plain(a, b):
        row = list(range(len(b) + 1))
        for i, x in enumerate(a, 1):
            row, last = [i], row
            for j, y in enumerate(b, 1):
                row.append(min(row[-1] + 1, last[j] + 1, last[j - 1] + (x != y)))
        return row[-1]

    assert edit_distance(tokens([*b"kitten"]), tokens([*b"sitting"])).tolist() == [3]
    rng = np.random.default_rng(0)
    first = [rng.integers(0, 3, rng.integers(0, 8)) for _ in range(200)]
    second = [rng.integers(0, 3, rng.integers(0, 8)) for _ in range(200)]
    found = edit_distance(pad(first), pad(second))
    assert found.tolist() == [plain(a, b) for a, b in zip(first, second, strict=True)]


def test_texts_are_scored_by_edits_per_token_beside_the_commonest_text():
    measure = fit_measure(tokens([1, 2], [1, 2], [3]))
    score = measure.score(tokens([1, 2], [4, 4]), tokens([1, 2], [1, 2]))
    assert score == {"error": 0.5, "exact": 0.5}
    assert measure.constant(2).value.tolist() == [[1, 2], [1, 2]]


def test_table_columns_are_scored_each_in_its_own_way():
    measure = fit_measure(table([[-1, 1, 2], [1, 1, 2]]), COLUMNS)
    target = table([[3, 1, 0], [-3, 0, 1], [None, None, 1]])
    wing, male, habitat = measure.score_columns(table([[6, 1, 0], [-6, 1, 1], [9, 0, 0]]), target)
    assert (wing["column"], wing["n"], wing["error"], wing["r"]) == ("wing", 2, pytest.approx(1), pytest.approx(1))
    assert (male["n"], male["error"]) == (2, 0.5)
    assert (habitat["n"], habitat["error"]) == (3, pytest.approx(1 / 3))
    assert measure.score(target, target)["error"] == 0
    assert measure.constant(1).value.tolist() == [[0, 1, 2]]


def peak(work):
    """Bytes that numpy held at most in a piece of work."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("values", [torch.randn(400, 3, 16, 16), pad([np.ones((n, 32)) * n for n in range(1, 120)])])
def test_errors_are_summed_some_rows_at_a_time(values, monkeypatch):
    rng = torch.Generator().manual_seed(0)
    if isinstance(values, Masked):
        guess = Masked(values.value + torch.randn(values.value.shape, generator=rng), values.mask)
    else:
        guess = values + torch.randn(values.shape, generator=rng)
    expected = fit_measure(values).score(guess, values)
    monkeypatch.setattr("isthmus.evaluation.features.NUM_AT_ONCE", 2**12)
    measure = fit_measure(values)
    assert measure.score(guess, values) == pytest.approx(expected, rel=1e-12)
    dense = 8 * (values.value if isinstance(values, Masked) else values).numel()
    assert peak(lambda: measure.score(guess, values)) < dense / 4


def test_a_constant_target_has_no_relative_error():
    measure = fit_measure(torch.ones(3, 2))
    assert measure.score(torch.zeros(3, 2), torch.ones(3, 2))["error"] is None


# --- floors -----------------------------------------------------------------------------------------------------------


def test_pca_finds_the_plane_data_lie_in():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 7)) + 3
    pca = PCA.fit(x, 5)
    assert pca.axes.shape == (7, 2)
    close(pca.inverse(pca(x)), x)


def test_pca_of_wide_data_agrees_with_pca_of_the_covariance():
    x = np.random.default_rng(0).normal(size=(30, 1100)) * np.linspace(3, 0.1, 1100)
    wide = PCA.fit(x, 4)
    _, size, axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    close(np.abs((wide.axes * axes[:4].T).sum(axis=0)), 1)
    close(np.linalg.norm(wide(x), axis=0), size[:4], atol=1e-6)


def test_pca_makes_no_copy_of_wide_data(monkeypatch):
    monkeypatch.setattr("isthmus.evaluation.floors.MAX_WIDTH", 64)
    x = np.random.default_rng(0).normal(size=(4000, 128))
    whole = PCA.fit(x, 4)
    code = whole(x)
    assert peak(lambda: PCA.fit(x, 4)) < x.nbytes / 4
    monkeypatch.setattr("isthmus.evaluation.features.NUM_AT_ONCE", 2**12)
    close(whole(x), code, atol=1e-12)
    assert peak(lambda: whole(x)) < x.nbytes / 4
    assert whole(x[:0]).shape == (0, 4)


def test_ridge_recovers_a_linear_law_and_shrinks_noise_to_the_mean():
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(200, 5)), rng.normal(size=(5, 3))
    close(Ridge.fit(x, x @ weight + 1)(x), x @ weight + 1, atol=1e-2)
    y = rng.normal(size=(200, 3)) + 4
    unrelated = rng.normal(size=(200, 100))
    close(Ridge.fit(unrelated, y)(rng.normal(size=(200, 100))), 4, atol=0.6)


def test_ridge_is_the_closed_form_at_its_penalty():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 4)), rng.normal(size=(40, 2))
    weight = Ridge.fit(x, y).weight
    xc, yc = x - x.mean(axis=0), y - y.mean(axis=0)
    # (X'X + pI) W = X'Y for one penalty p and every entry.
    penalty = (xc.T @ yc - xc.T @ xc @ weight) / weight
    close(penalty, penalty.mean(), atol=1e-6 * abs(penalty.mean()))


def test_cca_finds_known_correlations():
    rng = np.random.default_rng(0)
    wanted = np.array([0.9, 0.5, 0.0])
    x = rng.normal(size=(40_000, 3))
    y = wanted * x + np.sqrt(1 - wanted**2) * rng.normal(size=(40_000, 3))
    cca = CCA.fit(x @ rng.normal(size=(3, 3)) + 1, y @ rng.normal(size=(3, 3)), 3)
    close(cca.correlation, wanted, atol=0.02)


def test_cca_agrees_with_its_definition():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 4))
    y = x[:, :3] + rng.normal(size=(500, 3))
    cca = CCA.fit(x, y, 2)
    u, v = (x - cca.mean_x) @ cca.weight_x, (y - cca.mean_y) @ cca.weight_y
    close(u.T @ u / 500, np.eye(2))
    close(v.T @ v / 500, np.eye(2))
    close(u.T @ v / 500, np.diag(cca.correlation))


def test_nearest_rows_are_the_nearest():
    rng = np.random.default_rng(0)
    query, candidates = rng.normal(size=(70, 3)), rng.normal(size=(40, 3))
    distance = ((query[:, None] - candidates) ** 2).sum(axis=2)
    assert (nearest_rows(query, candidates, chunk=16) == distance.argmin(axis=1)).all()


def test_gaps_are_filled_from_neighbours_in_what_is_shared():
    train = {"a": np.array([[0.0], [10.0], [99.0]]), "b": np.array([[1.0], [2.0], [0.0]])}
    there = {"a": np.array([True, True, True]), "b": np.array([True, True, False])}
    views = {"a": np.array([[9.0], [1.0], [0.0]]), "b": np.array([[0.0], [0.0], [5.0]])}
    present = {"a": np.array([True, True, False]), "b": np.array([False, False, True])}
    filled = fill_gaps(views, present, train, there, num_neighbours=1)
    assert filled["b"][:, 0].tolist() == [2, 1, 5]
    assert filled["a"][:, 0].tolist() == [9, 1, 10]
    apart = {"a": np.array([True, False, False]), "b": np.array([False, True, True])}
    alone = fill_gaps(views, present, train, apart, num_neighbours=1)
    assert alone["b"][:2, 0].tolist() == [0, 0]  # nobody in training has both: the mean


def test_scaling_keeps_proportions_where_units_are_shared():
    x = np.array([[1.0, 10.0, 5.0], [3.0, 30.0, 5.0]])
    alone, together = Scaling.fit(x)(x), Scaling.fit(x, same_unit=True)(x)
    close(alone, [[-1, -1, 0], [1, 1, 0]])
    close(together[:, 1], 10 * together[:, 0])


# --- retrieval --------------------------------------------------------------------------------------------------------


def test_recall_of_identical_codes_is_one_and_of_shuffled_ones_is_chance():
    codes = np.random.default_rng(0).normal(size=(600, 8))
    assert recall(codes, codes) == {1: 1.0, 10: 1.0}
    found = recall(codes, np.random.default_rng(1).normal(size=(600, 8)))
    assert found[1] == pytest.approx(1 / 600, abs=0.006)
    assert found[10] == pytest.approx(10 / 600, abs=0.02)


def test_candidates_that_tie_share_the_hit():
    query = np.eye(4)[[0, 0, 1, 2]]
    assert recall(query, query) == {1: 0.75, 10: 1.0}  # two share a place: 1/2 + 1/2 + 1 + 1
    same = np.ones((20, 3))
    assert recall(same, same) == {1: pytest.approx(1 / 20), 10: pytest.approx(10 / 20)}


def test_one_constant_code_gains_nothing():
    assert recall(np.random.default_rng(0).normal(size=(50, 3)), np.zeros((50, 3)))[1] == pytest.approx(1 / 50)


def test_label_precision_asks_for_the_class_only():
    query = np.eye(3)[[0, 0, 1, 2]]
    assert label_precision(query, query[[1, 0, 2, 3]], np.array([0, 0, 1, 2])) == 1
    assert label_precision(query, query, np.array([0, 1, 1, 2])) == 0.75


def test_retrieval_in_parts_is_that_of_all_at_once():
    rng = np.random.default_rng(0)
    query, candidates, labels = rng.normal(size=(20, 3)), rng.normal(size=(20, 3)), rng.integers(0, 3, 20)
    assert label_precision(query, candidates, labels, chunk=3) == label_precision(query, candidates, labels)
    assert recall(query, candidates, chunk=3) == recall(query, candidates)


def test_cca_retrieves_what_is_linearly_the_same():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 6))
    x, y = z @ rng.normal(size=(6, 20)), z @ rng.normal(size=(6, 15)) + 0.01 * rng.normal(size=(300, 15))
    cca = fit_cca(x[:200], y[:200], 6)
    assert recall(cca.x(x[200:]), cca.y(y[200:]))[1] > 0.95


# --- probes -----------------------------------------------------------------------------------------------------------


def test_clusters_are_matched_one_to_one():
    labels = np.array([0, 0, 0, 1, 1, 2])
    assert probes.matched_accuracy(np.array([2, 2, 2, 0, 0, 1]), labels) == 1
    assert probes.matched_accuracy(np.array([0, 0, 1, 1, 1, 1]), labels) == pytest.approx(4 / 6)
    assert probes.matched_accuracy(np.zeros(6, dtype=int), labels) == 0.5


def test_probes_of_separable_codes_are_right_and_of_noise_are_chance():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    x = 5 * np.eye(4)[labels] + rng.normal(size=(400, 4)) * 0.1
    assert probes.code_probe(x[:300], labels[:300], x[300:], labels[300:]) == 1
    assert probes.raw_probe(x[:300], labels[:300], x[300:], labels[300:]) == 1
    found = probes.cluster(x[:300], x[300:], labels[300:], 4, seed=0)
    assert found == {"accuracy": 1.0, "nmi": pytest.approx(1), "ari": pytest.approx(1)}
    noise = rng.normal(size=(400, 4))
    assert probes.code_probe(noise[:300], labels[:300], noise[300:], labels[300:]) < 0.45
    assert probes.majority(np.array([1, 1, 0]), np.array([1, 0, 0, 0])) == 0.25
    assert probes.code_probe(x[:3], np.zeros(3, dtype=int), x[300:], labels[300:]) is None


# --- likelihood -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", [ProductOfExperts(with_prior=True), MixtureOfExperts()])
def test_evidence_is_reached_with_gaps(fusion):
    world = LinearGaussian(latent_dim=2, features={"image": 3, "audio": 2, "text": 2})
    batch = world.sample(6).drop("image", at=0).drop("audio", at=[0, 1]).drop("text", at=[2, 0])
    model = world.vae(fusion)
    with torch.no_grad():
        whole = log_evidence(model, batch, batch.modalities, 3000, seed=0)
        part = log_evidence(model, batch, ("image", "text"), 3000, seed=0)
    close(whole, world.log_evidence(batch), atol=0.1)
    close(part, world.log_evidence(batch.only("image", "text")), atol=0.1)
    assert whole[0] == 0


@pytest.mark.parametrize("fusion", [ProductOfExperts(with_prior=True), MixtureOfExperts()])
def test_conditional_evidence_is_reached_with_gaps(fusion):
    world = LinearGaussian(latent_dim=2, features={"image": 3, "audio": 2, "text": 2})
    batch = world.sample(6).drop("image", at=0).drop("audio", at=1).drop("text", at=2)
    with torch.no_grad():
        found = log_evidence(world.vae(fusion), batch, ("text",), 3000, seed=0, source=("image",))
    wanted = world.log_evidence(batch.only("image", "text")) - world.log_evidence(batch.only("image"))
    close(found, wanted, atol=0.1)
    assert found[2] == 0


def test_more_draws_raise_the_bound():
    world = LinearGaussian(latent_dim=2, features={"image": 4, "audio": 4}, noise=0.3)
    batch, model = world.sample(64), world.vae(MixtureOfExperts())
    with torch.no_grad():
        few, more = (float(log_evidence(model, batch, batch.modalities, k, seed=0).mean()) for k in (1, 50))
    assert few < more < float(world.log_evidence(batch).mean()) + 0.05


def test_mean_and_standard_error():
    found = mean_and_error(torch.tensor([1.0, 3.0], dtype=torch.float64))
    assert found == {"nats": 2.0, "standard_error": pytest.approx(1.0)}
    assert mean_and_error(torch.tensor([1.0]))["standard_error"] == 0


# --- judges -----------------------------------------------------------------------------------------------------------

ENGLISH = "zero one two three four five six seven eight nine".split()
CHINESE = "零一二三四五六七八九"
CAPTIONS = [f"The digit {word}." for word in ENGLISH] + [f"数字{word}" for word in CHINESE]
DIGITS = np.tile(np.arange(10), 2)


def test_words_give_a_class_away_in_any_language():
    judge = word_judge(CAPTIONS * 3, np.tile(DIGITS, 3))
    assert (judge.read(CAPTIONS) == DIGITS).all()
    assert judge.read(["the DIGIT “seven”!", "手写的数字七", "七", "ｓｅｖｅｎ"]).tolist() == [7, 7, 7, 7]


@pytest.mark.parametrize(
    "text", ["", "the digit", "数字", "the digit sevem", "seven or eight", "七八", "sevenfold", "\ufffd"]
)
def test_no_word_or_two_words_are_no_answer(text):
    assert word_judge(CAPTIONS * 3, np.tile(DIGITS, 3)).read([text]).tolist() == [-1]


def test_a_character_inside_another_number_does_not_mislead():
    texts, labels = ["数字七", "数字十七", "数字十"] * 5, np.array([0, 1, 2] * 5)
    assert (word_judge(texts, labels).read(texts) == labels).all()


def test_a_word_that_stands_beside_a_class_by_chance_is_no_sign():
    texts = ["a robin sings"] * 99 + ["a robin naps"] + ["a wren hides"] * 100
    judge = word_judge(texts, np.repeat([0, 1], 100))
    assert "naps" not in judge.meaning and judge.meaning["robin"] == 0 and "a" not in judge.meaning


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("«Oui», dit-il.", {"oui", "dit-il"}),
        ("हिन्दी में", {"हिन्दी", "में"}),
        ("七", {"七", "\x02", "\x03", "\x02七", "七\x03", "\x02七\x03"}),
        ("1 + 2", {"1", "+", "2"}),
    ],
)
def test_words_of_scripts(text, found):
    assert words(text) == found


def blobs(num_rows, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, num_rows)
    return torch.tensor(4 * np.eye(3)[labels] + rng.normal(size=(num_rows, 3)) * 0.3, dtype=torch.float32), labels


def test_a_judge_knows_copies_of_real_cells_and_guesses_at_shuffled_ones():
    values, labels = blobs(300)
    judge = train_judge(lambda: nn.Linear(3, 8), values, labels, 3, seed=0, device=torch.device("cpu"), num_steps=200)
    fresh, wanted = blobs(300, seed=1)
    assert coherence.agreement(judge.predict(fresh), wanted) == 1
    assert coherence.agreement(judge.predict(fresh), np.random.default_rng(0).permutation(wanted)) < 0.45
    close(np.exp(judge.log_prob(fresh)).sum(axis=1), 1)
    assert judge.features(fresh).shape == (300, 8)


def test_one_seed_makes_one_judge_and_leaves_the_global_noise_alone():
    values, labels = blobs(50)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = (
        train_judge(lambda: nn.Linear(3, 4), values, labels, 3, seed=1, device=torch.device("cpu"), num_steps=20)
        for _ in range(2)
    )
    assert (first.log_prob(values) == second.log_prob(values)).all()
    assert torch.equal(before, torch.random.get_rng_state())


# --- coherence --------------------------------------------------------------------------------------------------------


def test_frechet_distance_of_normals_is_the_closed_form():
    rng = np.random.default_rng(0)
    # Covariances that commute: the distance is that of the standard deviations along common axes.
    axes, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    s, t = np.array([1.0, 2.0, 0.5, 0.0]), np.array([3.0, 1.0, 0.5, 1.0])
    mean = np.array([1.0, -2.0, 0.0, 0.5])
    wanted = (mean**2).sum() + ((s - t) ** 2).sum()
    found = coherence.frechet_of_normals(mean, axes * s**2 @ axes.T, np.zeros(4), axes * t**2 @ axes.T)
    assert found == pytest.approx(wanted, abs=1e-6)


def test_frechet_distance_agrees_with_the_matrix_root_of_the_product():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    first, second = (a @ a.T + np.eye(3) for a in rng.normal(size=(2, 3, 3)))
    wanted = np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert coherence.frechet_of_normals(np.zeros(3), first, np.zeros(3), second) == pytest.approx(wanted)


def test_frechet_distance_of_a_set_from_itself_is_zero_and_from_one_row_undefined():
    x = np.random.default_rng(0).normal(size=(50, 5))
    assert coherence.frechet_distance(x, x) == pytest.approx(0, abs=1e-7)
    assert coherence.frechet_distance(x, x + 1) == pytest.approx(5)
    assert coherence.frechet_distance(x[:, :1], x[:, :1] + 2) == pytest.approx(4)
    assert coherence.frechet_distance(x[:1], x) is None


def test_class_means_do_not_vary_and_real_cells_vary_as_themselves():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 200)
    real = 3 * np.eye(5)[labels] + rng.normal(size=(200, 5))
    means = np.stack([real[labels == c].mean(axis=0) for c in range(5)])[labels]
    assert coherence.variance_ratio(means, labels, real, labels) == pytest.approx(0, abs=1e-12)
    assert coherence.variance_ratio(real, labels, real, labels) == 1
    assert coherence.variance_ratio(means + 0.5 * (real - means), labels, real, labels) == pytest.approx(0.25)
    assert coherence.variance_ratio(real[:1], labels[:1], real, labels) is None
    few = np.array([[0.0], [2.0], [0.0], [4.0], [9.0]]), np.array([0, 0, 1, 1, 2])
    many = np.array([[0.0], [4.0], [0.0], [2.0], [0.0], [9.0]]), np.array([0, 0, 1, 1, 3, 3])
    assert coherence.variance_ratio(*few, *many) == pytest.approx((2 + 8) / (8 + 2))


def test_joint_agreement_asks_all_judges():
    judged = np.array([[1, 2, 3, -1], [1, 2, 0, -1], [1, 0, 3, -1]])
    assert coherence.joint_agreement(judged) == 0.25
    assert coherence.joint_agreement(judged[:1]) is None
    assert coherence.agreement(np.zeros(0), np.zeros(0)) is None
