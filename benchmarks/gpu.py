"""B5, B6 and B9 on a GPU, with the shapes of 128x128 scans.

    python -m benchmarks.gpu [CHECKPOINT PREPARED] [--rounds 9] [--quick] [--write]

B9 needs a trained generator and what it was trained on. Without a GPU it says so and measures
nothing.
"""

import sys
from pathlib import Path

import torch

from benchmarks import autoencoder_speed, guided_sampling, training_step
from benchmarks.comparison import arguments, tell
from benchmarks.roofline import Machine
from benchmarks.trained import Trained

STEPS = {2: 200, 3: 100}


def main() -> None:
    parser = arguments(__doc__, rounds=9)
    parser.add_argument("trained", type=Path, nargs="*", metavar="CHECKPOINT PREPARED")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here: nothing was measured.")
        sys.exit()
    device = torch.device("cuda")
    machine = Machine.measure(device)
    side, batch, rounds = (32, 4, 2) if given.quick else (128, 64, given.rounds)
    results = [
        result
        for dims in (2, 3)
        for result in autoencoder_speed.compare(dims, side, STEPS[dims], rounds, machine, device)
    ]
    for sides in ((side // 4,) * 2, (side // 8,) * 3):
        case = training_step.Case((64, 128, 256), sides, batch)
        results.append(training_step.compare(case, rounds, machine, device))
    if given.trained:
        trained = Trained.read(*given.trained)
        results += guided_sampling.compare(
            trained, 1.5, batch, rounds, machine, guided_sampling.FINE
        )
    tell("B5, B6 and B9 on a GPU", results, machine, (), given.write)


if __name__ == "__main__":
    main()
