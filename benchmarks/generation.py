"""B10: a cohort from noise to files, ours beside a script as MAISI's, with equal networks.

    OMP_NUM_THREADS=1 python -m benchmarks.generation CHECKPOINT PREPARED \
        [--scans 64] [--weight 1.5] [--rounds 3] [--quick] [--write]

Ours draws in ten steps guided inside an interval, decodes, screens every scan against real ones and
writes .nii.gz. The script draws in 30 steps with `cfg`, decodes in overlapping windows and writes
with SaveImage; it knows no screen. Calibrating the screen is not counted: it is done once.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.transforms import SaveImage

from benchmarks.comparison import Gate, Result, tell
from benchmarks.guided_sampling import Judge, Samplers
from benchmarks.roofline import Machine, clock, seconds_of
from benchmarks.trained import Trained, trained_arguments
from medsynth.core.geometry import Volume
from medsynth.core.manifest import Manifest
from medsynth.core.schema import Attributes
from medsynth.models.guidance import Guidance
from medsynth.models.synthesizer import SamplerConfig
from medsynth.models.trained import check_request
from medsynth.release.bids import write_compressed
from privacy.folds import Fold, RealFolds
from privacy.screen.decide import Screen

ALPHA, GOAL, PEER_STEPS, MOST_SHARE = 0.05, 8.0, 30, 0.1


def untold(count: int) -> None:
    """Nothing is shown."""


def calibrated(volumes: np.ndarray) -> Screen:
    """A screen on real scans, each taken for a person: it is its time that counts here."""
    parts = np.split(np.arange(len(volumes)), [len(volumes) // 2, 2 * len(volumes) // 3])
    return Screen.calibrate(
        RealFolds(*(Fold(volumes[part], part) for part in parts)), ALPHA, None, untold
    )


class Ours:
    """The whole way, and how long its last two parts took."""

    def __init__(
        self, trained: Trained, asked: list[Attributes], screen: Screen, weight: float
    ) -> None:
        self.trained, self.asked, self.screen = trained, asked, screen
        self.how = SamplerConfig(guidance=Guidance(weight))
        self.volumes, self.shares = np.zeros(0), list[float]()

    def __call__(self, folder: Path) -> None:
        generator, began = self.trained.generator, clock()
        indices = range(len(self.asked))
        self.volumes = generator.draw(self.asked, indices, seed=0, how=self.how)
        drawn = clock()
        self.screen.rejects(self.screen.match(self.volumes, untold))
        for index, voxels in enumerate(self.volumes):
            volume = Volume(voxels[None], generator.geometry)
            write_compressed(folder / f"ours-{index}.nii.gz", volume)
        ended = clock()
        self.shares.append((ended - drawn) / (ended - began))


class Script:
    """As MAISI's script of inference goes."""

    def __init__(self, trained: Trained, count: int, weight: float) -> None:
        self.trained, self.count = trained, count
        self.draw = Samplers(trained, weight).peer(PEER_STEPS)
        self.volumes = np.zeros(0)

    def __call__(self, folder: Path) -> None:
        ours, batch = self.trained.generator.synthesizer, self.trained.generator.batch
        window = tuple(max(4, side // 2) for side in ours.latent_shape[1:])
        windows = SlidingWindowInferer(window, 1, overlap=0.4, mode="gaussian")
        save = SaveImage(folder, output_postfix="", separate_folder=False, print_log=False)
        found, noise = [], self.trained.noise(0, self.count)
        for first in range(0, self.count, batch):
            some = noise[first : first + batch]
            latents = self.draw(some, self.trained.condition(first, len(some)))
            with torch.no_grad():
                images = windows(ours.scale.undo(latents), ours.autoencoder.decode)
            for index, voxels in enumerate(ours.frame.to_volumes(images)):
                name = f"theirs-{first + index}.nii.gz"
                save(MetaTensor(voxels[None], meta={"filename_or_obj": name}))
                found.append(voxels)
        self.volumes = np.stack(found)


def requests(trained: Trained, prepared: Path, count: int) -> list[Attributes]:
    """Attributes of real scans that the generator may be asked for, round and round."""
    ours, found = trained.generator.synthesizer, []
    for scan in Manifest.read(prepared).fold("control"):
        try:
            check_request(ours.schema, ours.trained, scan.attributes)
        except ValueError:
            continue
        found.append(scan.attributes)
    return [found[index % len(found)] for index in range(count)]


def main() -> None:
    parser = trained_arguments(__doc__, rounds=3)
    parser.add_argument("--scans", type=int, default=64)
    parser.add_argument("--weight", type=float, default=1.5)
    given = parser.parse_args()
    count = 4 if given.quick else given.scans
    trained = Trained.read(given.checkpoint, given.prepared)
    machine = Machine.measure(trained.generator.synthesizer.device)
    began = time.process_time()
    screen = calibrated(trained.volumes[:45] if given.quick else trained.volumes)
    calibrating = time.process_time() - began
    ours = Ours(trained, requests(trained, given.prepared, count), screen, given.weight)
    script = Script(trained, count, given.weight)
    taken = []
    with TemporaryDirectory() as name:
        for _ in range(given.rounds):
            taken.append([seconds_of(lambda w=way: w(Path(name))) for way in (script, ours)])
    peer, own = zip(*taken, strict=True)
    judge, share = Judge.of(trained.volumes), float(np.median(ours.shares))
    gate = Gate("squared MMD", judge(ours.volumes), judge(script.volumes) + judge.chance)
    results = [Result(f"{count} scans: a script as MAISI's", peer, own, GOAL, None, (gate,))]
    bare = [seconds * (1 - part) for seconds, part in zip(own, ours.shares, strict=True)]
    results.append(Result("the same without screen and export", peer, bare, None, None, (gate,)))
    notes = [
        f"screen and export take {share:.0%} of our time (goal {MOST_SHARE:.0%}); the screen knows "
        f"{len(trained.volumes)} scans and was calibrated in {calibrating:.0f} processor seconds"
    ]
    tell("B10, from noise to files", results, machine, notes, given.write)


if __name__ == "__main__":
    main()
