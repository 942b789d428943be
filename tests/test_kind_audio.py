"""What the audio kind promises: sounds of any common file in, sounds one can hear out."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch.testing import assert_close

from isthmus.batch import Masked
from isthmus.kinds.audio import RANGE_DB, STEP_DB, AudioKind, Waveform
from isthmus.kinds.base import CellError, Kind
from isthmus.likelihoods import SequenceNormal
from isthmus.noise import Noise

RATE = 8000
NETWORKS = ["cnn", "gru", "lstm", "transformer"]


def tone(pitch: float, seconds: float = 0.4, rate: int = RATE, loudness: float = 0.5) -> np.ndarray:
    """A tone with two overtones that fades away."""
    time = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in (1, 2, 3))
    return (loudness * wave * np.exp(-4 * time) / 2).astype(np.float32)


def tones() -> list[Waveform]:
    return [Waveform(tone(200 + 60 * i, 0.3 + 0.03 * (i % 5)), RATE) for i in range(10)]


KIND = AudioKind().fit(tones())


def normalised(kind: Kind, cells: Sequence[Any]) -> Masked:
    values = kind.normalise(kind.collate([kind.encode(cell) for cell in cells]))
    assert isinstance(values, Masked)
    return values


def file_bytes(samples: np.ndarray, rate: int = RATE, **form: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **form)
    return file.getvalue()


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_frames_are_standardised_and_their_number_is_known() -> None:
    values = normalised(KIND, tones())
    there = values.value[values.mask]
    assert_close(there.mean(dim=0), torch.zeros(KIND.mels_), atol=1e-4, rtol=0)
    assert (there.std(dim=0) < 1.01).all() and there.isfinite().all()
    assert (values.value[~values.mask] == 0).all()
    assert (KIND.rate_, KIND.mels_, KIND.hop_) == (8000, 40, 100)
    assert values.mask.sum(dim=1).tolist() == [min(1 + len(cell.samples) // 100, KIND.max_frames_) for cell in tones()]


def test_a_pure_tone_stands_in_the_band_of_its_pitch() -> None:
    time = np.arange(4000) / RATE
    stored = KIND.encode((np.sin(2 * np.pi * 1000 * time), RATE))
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 42) / 2595) - 1)
    assert (stored[5:-5].argmax(axis=1) == np.abs(edges[1:-1] - 1000).argmin()).all()
    assert stored.max() == 255 and stored.dtype == np.uint8
    # Half as loud is the same sound; a band 20 dB weaker lies 20 dB lower.
    assert np.array_equal(KIND.encode((0.5 * np.sin(2 * np.pi * 1000 * time), RATE)), stored)
    both = KIND.encode((np.sin(2 * np.pi * 1000 * time) + 0.1 * np.sin(2 * np.pi * 3000 * time), RATE)).astype(int)
    band = np.abs(edges[1:-1] - 1000).argmin(), np.abs(edges[1:-1] - 3000).argmin()
    wide = 10 * np.log10((edges[band[1] + 2] - edges[band[1]]) / (edges[band[0] + 2] - edges[band[0]]))
    assert_close((both[20, band[0]] - both[20, band[1]]) * STEP_DB, 20.0 + wide, atol=1.5, rtol=0)


def test_a_sound_comes_back_as_a_sound() -> None:
    cells = tones()
    sounds = KIND.cells(normalised(KIND, cells))
    for cell, sound in zip(cells, sounds, strict=True):
        assert isinstance(sound, Waveform) and sound.rate == RATE and sound.samples.dtype == np.float32
        assert abs(np.abs(sound.samples).max() - 0.9) < 1e-5
        given, heard = KIND.encode(cell).astype(int), KIND.encode(sound).astype(int)
        # What is loud stays: within 20 dB of the loudest, levels agree to 2 dB on the whole. Valleys between single
        # lines do fill up; real speech, below, has none so deep.
        loud = given > 255 - 20 / STEP_DB
        assert np.abs(given - heard)[loud].mean() * STEP_DB < 2.0
        assert (np.abs(given.argmax(axis=1) - heard.argmax(axis=1)) <= 1).mean() > 0.9


def test_each_sound_is_decoded_as_if_it_were_alone() -> None:
    values = normalised(KIND, tones())
    together = KIND.cells(values)
    for i in (0, 4):
        alone = KIND.decode(values.value[i][values.mask[i]].numpy())
        np.testing.assert_allclose(alone.samples, together[i].samples, atol=1e-6)
    assert KIND.cells(values.take(torch.tensor([], dtype=torch.long))) == []


def test_real_speech_comes_back(shared: Path) -> None:
    paths = sorted((shared / "fsdd" / "wav").glob("*.wav"))
    kind = AudioKind().fit(paths)
    sounds = kind.cells(normalised(kind, paths[::6]))
    kept = [correlation(kind.encode(path), kind.encode(sound)) for path, sound in zip(paths[::6], sounds, strict=True)]
    assert np.mean(kept) > 0.95 and min(kept) > 0.85


@pytest.mark.parametrize(
    ("form", "rate"),
    [
        ({"format": "WAV", "subtype": "PCM_16"}, 8000),
        ({"format": "WAV", "subtype": "PCM_U8"}, 8000),
        ({"format": "WAV", "subtype": "FLOAT"}, 44100),
        ({"format": "FLAC"}, 16000),
        ({"format": "OGG", "subtype": "VORBIS"}, 22050),
        ({"format": "OGG", "subtype": "OPUS"}, 48000),
        ({"format": "MP3"}, 44100),
    ],
)
def test_every_file_format_is_read_by_its_content(form: dict[str, str], rate: int, tmp_path: Path) -> None:
    samples = tone(330, rate=rate)
    data = file_bytes(np.stack([samples, samples], axis=1), rate, **form)
    path = tmp_path / "sound.bin"
    path.write_bytes(data)
    given = KIND.encode(path)
    assert np.array_equal(given, KIND.encode(data)) and np.array_equal(given, KIND.encode(str(path)))
    plain = KIND.encode((tone(330), RATE))
    # Codecs pad by some frames, and cut what lies far below the loudest.
    length = min(len(plain), len(given))
    assert abs(len(plain) - len(given)) <= 5 and correlation(given[:length, 3:30], plain[:length, 3:30]) > 0.7


def test_arrays_of_any_type_and_layout_are_the_same_sound() -> None:
    kind = AudioKind(rate=RATE).fit([tone(300)])
    samples = tone(300)
    stored = kind.encode(samples).astype(int)
    for cell in (
        (samples * 32768).round().astype(np.int16),
        (samples.astype(float) * 2**31).astype(np.int32),
        np.stack([samples, samples], axis=1),
        np.stack([samples, samples]),
        samples.astype(np.float64),
        (samples.tolist(), 8000.0),
        Waveform(samples, RATE),
    ):
        assert np.abs(kind.encode(cell).astype(int) - stored)[stored > 60].max() <= 1
    assert correlation(kind.encode((samples * 127 + 128).round().astype(np.uint8)), stored) > 0.9


def test_stereo_is_mixed_and_other_rates_are_resampled() -> None:
    left, right = tone(300, rate=22050), tone(500, rate=22050)
    mixed = KIND.encode((np.stack([left, right], axis=1), 22050)).astype(int)
    assert np.abs(mixed - KIND.encode(((left + right) / 2, 22050))).max() <= 1
    assert correlation(mixed, KIND.encode((tone(300) + tone(500), RATE))) > 0.99


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (b"", "file is empty"),
        ("nowhere.wav", "file not found"),
        (b"this is no sound, only text\n" * 20, "not a sound file that can be read"),
        (file_bytes(np.zeros(0, np.float32), format="WAV"), r"no sound in it \(0 samples\)"),
        (file_bytes(tone(300), format="WAV")[:30], "not a sound file that can be read"),
        (file_bytes(np.array([0, np.nan, 1], np.float32), format="WAV", subtype="FLOAT"), "sample 1 is not a finite"),
        ((np.array([0, 1, np.inf]), 8000), "sample 2 is not a finite number"),
        ((np.zeros(0), 8000), "0 samples"),
        ((np.zeros((2, 3, 4)), 8000), r"shape \(2, 3, 4\)"),
        ((np.array(["a"]), 8000), "samples of type <U1"),
        ((tone(300), 3), "a rate of 3 samples a second"),
        ((tone(300), float("nan")), "a rate of nan samples a second"),
        ((tone(300), "8000"), "a rate of 8000 samples"),
        (tone(300), "has no rate; give"),
        (12.5, "expected a path or bytes, got float"),
    ],
    # Not by bytes: a file of floats holds the second at which it was made, and processes of tests must agree on names.
    ids=lambda value: type(value).__name__,
)
def test_cells_that_cannot_be_read_say_why(cell: Any, reason: str) -> None:
    with pytest.raises(CellError, match=reason):
        KIND.encode(cell)
    with pytest.raises(ValueError, match=f"Not one of 1 sounds could be read: .*{reason}"):
        AudioKind().fit([cell])
    assert AudioKind().fit([cell, *tones()]).num_fitted_ == 10


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(CellError, match="not a regular file"):
        KIND.encode(tmp_path / "pipe.wav")


def test_fit_of_nothing_says_so() -> None:
    with pytest.raises(ValueError, match="there are none"):
        AudioKind().fit([])


def test_silence_and_a_single_sample_are_sounds() -> None:
    silent = KIND.encode((np.zeros(2000), RATE))
    assert silent.shape == (21, 40) and (silent == 0).all()
    sound = KIND.decode(normalised(KIND, [(np.zeros(2000), RATE)]).value[0].numpy())
    assert np.isfinite(sound.samples).all() and "NaN" not in KIND.html(Waveform(np.zeros(9, np.float32), RATE))
    assert KIND.encode((np.ones(1), RATE)).shape == KIND.encode((np.ones(1), 48000)).shape == (1, 40)
    assert len(KIND.cells(normalised(KIND, [(np.ones(1), RATE)]))[0].samples) == 99
    assert AudioKind().fit([(np.zeros(2000), RATE)]).std_ == [1.0] * 40


def test_rate_length_and_bands_are_learnt() -> None:
    cells = [(tone(300, 0.3, 44100), 44100)] * 2 + [(tone(300, 0.3, 48000), 48000)]
    kind = AudioKind().fit(cells)
    assert (kind.rate_, kind.mels_, kind.hop_) == (16000, 64, 200)
    cells = [(tone(300, 0.3), RATE)] * 97 + [(tone(300, 1.5), RATE)] * 3
    kind = AudioKind().fit(cells)
    assert (kind.max_frames_, kind.num_cropped_, kind.mean_frames_, kind.num_dimensions) == (25, 3, 25, 1000)
    assert kind.encode(cells[-1]).shape == kind.encode(cells[0]).shape == (25, 40)
    assert kind.describe() == "8000 Hz, 40 mel bands, up to 25 frames (0.31 s), 3 of 100 cropped"
    assert AudioKind().fit([(np.ones(30 * RATE), RATE)]).max_frames_ == 801
    kind = AudioKind(rate=4000, mels=20, hop=0.02, max_seconds=1.0).fit(cells)
    assert (kind.rate_, kind.mels_, kind.hop_, kind.max_frames_) == (4000, 20, 80, 51)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 0}, "rate=0. Expected a positive number"),
        ({"max_seconds": float("inf")}, "max_seconds=inf"),
        ({"network": "ccn"}, "no network 'ccn'.*Did you mean 'cnn'"),
        ({"scale": "learnt"}, "scale='learnt'. Expected \"learned\""),
    ],
)
def test_settings_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AudioKind(**arguments)


def test_a_saved_kind_reads_and_sounds_exactly_the_same() -> None:
    kind = AudioKind(max_seconds=0.3, network="gru").fit(tones())
    again = Kind.from_config(json.loads(json.dumps(kind.to_config())))
    assert again.to_config() == kind.to_config() and again.describe() == kind.describe()
    values = normalised(kind, tones())
    assert torch.equal(normalised(again, tones()).value, values.value)
    for one, other in zip(kind.cells(values), again.cells(values), strict=True):
        assert np.array_equal(one.samples, other.samples)


def test_html_plays_and_files_open(tmp_path: Path) -> None:
    sound = tones()[3]
    html = KIND.html(sound)
    assert re.fullmatch(
        r'<span class="audio"><svg [^<>]*><path [^<>]*/></svg><audio controls [^<>]*></audio></span>', html
    )
    assert "http" not in html
    match = re.search(r'src="data:audio/wav;base64,([^"]*)"', html)
    assert match is not None
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(match[1])), dtype="float32")
    assert rate == RATE
    np.testing.assert_allclose(samples, sound.samples, atol=1e-4)
    assert KIND.write(sound, tmp_path / "item.1") == "item.1.wav"
    assert soundfile.info(tmp_path / "item.1.wav").frames == len(samples)
    assert np.abs(KIND.encode(tmp_path / "item.1.wav").astype(int) - KIND.encode(sound))[:, :30].mean() < 1


@pytest.mark.parametrize("network", NETWORKS)
def test_rows_depend_neither_on_each_other_nor_on_padding(network: str) -> None:
    torch.manual_seed(0)
    kind = AudioKind(network=network).fit(tones())
    cells = [tones()[0], (tone(300, 0.01), RATE), (tone(700, 0.2), RATE), tones()[4]]
    values, encoder = normalised(kind, cells), kind.encoder(24)
    features = encoder(values)
    assert features.shape == (4, 24)
    for i, cell in enumerate(cells):
        assert_close(encoder(normalised(kind, [cell]))[0], features[i], atol=1e-5, rtol=0)
    filled = values.value.masked_fill(~values.mask.unsqueeze(-1), 5.0)
    assert_close(encoder(Masked(filled, values.mask)), features, atol=1e-5, rtol=0)
    assert encoder(values.take(torch.tensor([], dtype=torch.long))).shape == (0, 24)
    assert encoder(Masked(values.value, torch.zeros_like(values.mask))).isfinite().all()
    assert encoder.double()(values.to(dtype=torch.float64)).dtype == torch.float64


def test_normalised_frames_follow_the_default_dtype() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        values = normalised(KIND, tones()[:1])
        assert values.value.dtype == torch.float64
        assert isinstance(KIND.cells(values)[0], Waveform)
        assert KIND.encode(tones()[0]).dtype == np.uint8
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_decoder_draws_sounds_that_end() -> None:
    torch.manual_seed(0)
    decoder, z = KIND.decoder(6), torch.randn(5, 6)
    frames, length_logits = decoder(z)
    assert frames.shape == (5, KIND.max_frames_, 40) and length_logits.shape == (5, KIND.max_frames_)
    alone = decoder(z[3:4])
    assert_close((alone[0][0], alone[1][0]), (frames[3], length_logits[3]), atol=1e-5, rtol=0)
    assert decoder(z[:0])[0].shape == (0, KIND.max_frames_, 40)
    assert decoder.double()(z.double())[0].dtype == torch.float64
    likelihood = KIND.likelihood()((frames, length_logits))
    assert isinstance(likelihood, SequenceNormal)
    drawn = likelihood.sample(Noise(0), "audio")
    sounds = KIND.cells(drawn)
    assert [len(sound.samples) for sound in sounds] == (drawn.mask.sum(dim=1) * KIND.hop_ - 1).tolist()
    assert all(np.isfinite(sound.samples).all() for sound in sounds)


def test_each_band_learns_its_scale_down_to_the_rounding() -> None:
    head = KIND.likelihood()
    assert_close(head.log_scale().exp(), torch.ones(40))
    with torch.no_grad():
        head.log_scale.raw.fill_(-100.0)
    floor = RANGE_DB / 255 / np.sqrt(12) / np.median(KIND.std_)
    assert_close(head.log_scale().exp(), torch.full((40,), float(floor)))


def test_an_autoencoder_learns_a_handful_of_sounds() -> None:
    torch.manual_seed(0)
    values = normalised(KIND, tones())
    encoder, code, decoder, head = KIND.encoder(64), torch.nn.Linear(64, 8), KIND.decoder(8), KIND.likelihood()
    modules = torch.nn.ModuleList([encoder, code, decoder, head])
    optimiser = torch.optim.Adam(modules.parameters(), 2e-3)
    for _ in range(200):
        loss = -head(decoder(code(encoder(values)))).log_prob(values).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    decoded = head(decoder(code(encoder(values)))).mode
    assert torch.equal(decoded.mask[:, : values.mask.shape[1]], values.mask)
    error = (decoded.value[:, : values.mask.shape[1]] - values.value)[values.mask].square().mean()
    # Standardised bands: the constant predictor is off by 1.
    assert error < 0.1
