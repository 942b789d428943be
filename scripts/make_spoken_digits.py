"""Make the spoken digits of the demo: `python scripts/make_spoken_digits.py src/isthmus/assets`.

Run at development time, on a machine with `espeak-ng` 1.51 (`apt-get install espeak-ng`), which writes
`spoken_digits.ogg` and `spoken_digits.csv`. The package holds these two files and needs no synthesiser.

One seed gives one set of samples. The Ogg file itself differs from run to run in the serial number of its stream.
"""

from __future__ import annotations

import argparse
import csv
import io
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

RATE = 8_000
WORDS = "zero one two three four five six seven eight nine".split()

# Voices of espeak-ng, out of 64 tried: each is read at 97% or better by a logistic regression that never heard it.
# Whispering, croaking and robot voices are left out. A voice belongs to one split, so that test voices are new ones;
# every split has high and low voices, and klatt2 and klatt4 come from espeak's second synthesiser, Klatt's.
VOICES = {
    "train": "m1 m2 m3 m5 m7 m8 f1 f2 f4 adam Annie linda steph klatt4 grandma grandpa belinda".split(),
    "validation": "m6 f5 Andy".split(),
    "test": "m4 f3 Gene klatt2".split(),
}
ACCENTS = [
    "en-us",
    "en-us-nyc",
    "en-gb",
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
]
TAKES = 6  # of each digit by each voice

# Opus at 13 kbit/s, 1.2 MB; FLAC needs 7.8 MB. A logistic regression on 24x16 log spectra, fitted to the training
# voices, reads 100% and 99.6% of the validation and test clips, and 99.4% and 99.6% of the uncompressed ones.
COMPRESSION = 0.97
PAUSE = np.zeros(RATE // 50, dtype=np.float32)  # between clips, so that the codec smears none into the next


class Take(NamedTuple):
    """How one clip is spoken: what `spoken_digits.csv` says of it, beside where it lies in the stream."""

    digit: int
    split: str
    voice: str
    accent: str
    words_per_minute: int
    pitch: int
    stretch: float  # of time and of all frequencies together, as a shorter or longer vocal tract has it
    gain: float


def plan(seed: int) -> list[Take]:
    """Every voice says every digit `TAKES` times, in an accent, speed, pitch, size and loudness drawn each time."""
    rng = np.random.default_rng(seed)
    return [
        Take(
            digit=digit,
            split=split,
            voice=voice,
            accent=ACCENTS[rng.integers(len(ACCENTS))],
            words_per_minute=int(rng.integers(120, 200)),
            pitch=int(rng.integers(25, 75)),
            stretch=round(float(rng.uniform(0.96, 1.04)), 3),
            gain=round(float(rng.uniform(0.5, 0.9)), 3),
        )
        for split, voices in VOICES.items()
        for voice in voices
        for digit in range(10)
        for _ in range(TAKES)
    ]


def speak(take: Take) -> np.ndarray:
    """The clip of one take: float32, mono, 8 kHz, silence cut off, its peak at `gain`."""
    voice = f"{take.accent}+{take.voice}"
    command = ["espeak-ng", "-v", voice, "-s", str(take.words_per_minute), "-p", str(take.pitch), "--stdout"]
    wav = subprocess.run([*command, WORDS[take.digit]], capture_output=True, check=True).stdout
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    clip = trim(soxr.resample(samples, rate / take.stretch, RATE))
    return np.asarray(clip * (take.gain / np.abs(clip).max()), dtype=np.float32)


def trim(samples: np.ndarray) -> np.ndarray:
    """`samples` from 10 ms before the first sound to 20 ms after the last.

    Sound is what exceeds 0.5% of the highest level; at 2% the soft "th" of "three" is lost in some voices.
    """
    level = np.sqrt(np.convolve(samples**2, np.ones(80) / 80, mode="same"))
    sounding = np.flatnonzero(level > 0.005 * level.max())
    return samples[max(sounding[0] - 80, 0) : sounding[-1] + 160]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where spoken_digits.ogg and spoken_digits.csv go")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    takes = plan(arguments.seed)
    start, rows, stream = 0, [], []
    for take in takes:
        clip = speak(take)
        rows.append([start, len(clip), *take])
        stream += [clip, PAUSE]
        start += len(clip) + len(PAUSE)

    arguments.folder.mkdir(parents=True, exist_ok=True)
    sound, index = arguments.folder / "spoken_digits.ogg", arguments.folder / "spoken_digits.csv"
    soundfile.write(sound, np.concatenate(stream), RATE, format="OGG", subtype="OPUS", compression_level=COMPRESSION)
    with index.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["start", "length", *Take._fields])
        writer.writerows(rows)
    print(f"{len(takes)} clips, {start / RATE:.0f} s: {sound.stat().st_size:,} + {index.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
