from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from isthmus.data.demo import CHINESE, ENGLISH, caption, draw_presence, spoken_digits, write_demo

MODALITIES = ("image", "audio", "caption")


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    return write_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def rows(demo) -> list[dict[str, str]]:
    return read(demo)


@pytest.fixture(scope="module")
def spoken():
    return spoken_digits()


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digest(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_digit_is_spoken_by_every_voice_six_times(spoken):
    assert len(spoken.clips) == 1440
    assert spoken.rate == 8000
    for voice in np.unique(spoken.voice):
        assert np.bincount(spoken.label[spoken.voice == voice]).tolist() == [6] * 10


def test_clips_are_sound_and_not_silence(spoken):
    seconds = np.array([len(clip) for clip in spoken.clips]) / spoken.rate
    peaks = np.array([np.abs(clip).max() for clip in spoken.clips])
    assert seconds.min() > 0.2
    assert seconds.max() < 1.0
    assert peaks.min() > 0.3
    assert peaks.max() < 1.0  # nothing clips when it is written as 16 bit


def test_index_and_stream_agree(spoken):
    # Most clips begin softly and all end softly. Cut 20 ms late they begin at 0.03, cut 20 ms early they end at 0.08.
    assert np.median([np.abs(clip[:60]).max() for clip in spoken.clips]) < 0.005
    assert np.median([np.abs(clip[-100:]).max() for clip in spoken.clips]) < 0.005


def test_no_voice_belongs_to_two_splits(spoken):
    voices = {split: set(spoken.voice[spoken.split == split]) for split in np.unique(spoken.split)}
    assert {split: len(members) for split, members in voices.items()} == {"train": 17, "validation": 3, "test": 4}
    assert len(set.union(*voices.values())) == 24


def test_written_sounds_come_from_voices_of_their_split(demo, rows, spoken):
    origin = {written(clip).tobytes(): i for i, clip in enumerate(spoken.clips)}
    for row in rows:
        if row["audio"]:
            samples, rate = soundfile.read(demo.parent / row["audio"], dtype="int16")
            clip = origin[samples.tobytes()]
            assert rate == 8000
            assert spoken.split[clip] == row["split"]
            assert spoken.label[clip] == int(row["label"])


def written(clip: np.ndarray) -> np.ndarray:
    """A clip as it comes back from a 16-bit WAV."""
    buffer = io.BytesIO()
    soundfile.write(buffer, clip, 8000, format="WAV", subtype="PCM_16")
    buffer.seek(0)
    return soundfile.read(buffer, dtype="int16")[0]


def test_pictures_are_those_of_their_digit(demo, rows):
    from sklearn.datasets import load_digits

    shown = [row for row in rows if row["image"]]
    pictures = []
    for row in shown:
        with Image.open(demo.parent / row["image"]) as picture:
            assert (picture.mode, picture.size) == ("L", (16, 16))
            pictures.append(np.asarray(picture, dtype=np.float32))
    # Averaging 2x2 pixels undoes the enlargement well enough that the nearest original is the picture's own.
    small = np.stack(pictures).reshape(-1, 8, 2, 8, 2).mean(axis=(2, 4)).reshape(-1, 64) / 16
    source = load_digits()
    distance = (small**2).sum(1)[:, None] - 2 * small @ source.data.T + (source.data**2).sum(1)
    nearest = distance.argmin(axis=1)
    assert source.target[nearest].tolist() == [int(row["label"]) for row in shown]
    assert len(set(nearest.tolist())) == len(shown)  # no picture twice, so none in two splits


def test_captions_say_the_label_in_either_language(rows):
    captions = [(row["caption"], int(row["label"])) for row in rows if row["caption"]]
    assert all(text in (f"the digit {ENGLISH[label]}", f"数字{CHINESE[label]}") for text, label in captions)
    chinese = np.mean([text.startswith("数字") for text, _ in captions])
    assert 0.45 < chinese < 0.55


def test_caption_examples():
    assert caption(7, chinese=False) == "the digit seven"
    assert caption(7, chinese=True) == "数字七"


def test_gaps_are_as_many_as_asked_and_every_item_keeps_one(rows):
    gaps = np.array([[row[name] == "" for name in MODALITIES] for row in rows])
    assert not gaps.all(axis=1).any()
    assert np.all(np.abs(gaps.mean(axis=0) - 0.3) < 0.02)


def test_only_files_of_the_table_are_written(demo, rows):
    named = {row[name] for row in rows for name in ("image", "audio")} - {""}
    assert set(digest(demo.parent)) == named | {"digits.csv"}


def test_splits_and_keys(rows):
    splits = [row["split"] for row in rows]
    assert len({row["key"] for row in rows}) == len(rows) == 1797
    assert {split: splits.count(split) for split in set(splits)} == {"train": 1439, "validation": 179, "test": 179}


def test_one_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    first, again, other = (
        digest(write_demo(tmp_path / name, num_items=30, seed=seed).parent)
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert first == again
    assert first != other


def test_a_small_demo_is_the_beginning_of_the_whole_one(tmp_path, demo, rows):
    small = write_demo(tmp_path, num_items=40)
    assert read(small) == rows[:40]
    whole = digest(demo.parent)
    assert all(whole[name] == value for name, value in digest(tmp_path).items() if name != "digits.csv")


def test_without_gaps_every_cell_is_there(tmp_path):
    assert all(all(row.values()) for row in read(write_demo(tmp_path, num_items=20, missing=0.0)))


@pytest.mark.parametrize("num_items", [0, 1798])
def test_too_many_or_no_items(tmp_path, num_items):
    with pytest.raises(ValueError, match=f"The demo has 1797 handwritten digits, asked for num_items={num_items}"):
        write_demo(tmp_path, num_items=num_items)


@pytest.mark.parametrize("missing", [-0.1, 1.5])
def test_share_of_gaps_out_of_range(tmp_path, missing):
    with pytest.raises(ValueError, match=f"missing={missing} is not a probability"):
        write_demo(tmp_path, missing=missing)


@pytest.mark.parametrize(("missing", "num_modalities"), [(0.3, 3), (0.5, 2), (1.0, 3), (0.9, 5)])
def test_share_of_gaps_is_the_stated_one(missing, num_modalities):
    present = draw_presence(np.random.default_rng(0), 100_000, num_modalities, missing)
    assert present.any(axis=1).all()
    expected = missing - missing**num_modalities / num_modalities
    assert 1 - present.mean() == pytest.approx(expected, abs=0.005)
    assert np.allclose(1 - present.mean(axis=0), expected, atol=0.01)  # no modality is favoured
