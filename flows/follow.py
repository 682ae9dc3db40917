"""What the further processes of `torchrun` do in a training: the same steps, and nothing else.

The first one alone holds OUT, opens the flow and the MLflow run, writes and reports.
"""

import sys
from pathlib import Path

from flows.answer import DONE
from flows.config import read_config
from medsynth.core.errors import MedsynthError
from medsynth.core.stage import open_stage
from medsynth.train.ranks import Share
from medsynth.train.train import train


def follow_training(share: Share, prepared: Path, out: Path, config: Path | None) -> int:
    """Take part; the exit code of this process."""
    settings = read_config(config)
    try:
        train(open_stage(prepared), out, settings.train, seed=settings.seed)
    except MedsynthError as error:
        print(f"medsynth, process {share.rank}: {error}", file=sys.stderr)
        return error.exit_code
    return DONE
