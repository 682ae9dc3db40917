"""The generator as MLflow loads it: a model from code, whose weights are safetensors.

MLflow runs this file; `predict` turns a table of attributes into images that no screen has seen.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from medsynth.checkpoint import load_generator
from medsynth.core.schema import Attributes
from medsynth.models.guidance import Guidance
from medsynth.models.synthesizer import SamplerConfig

NOTE = "unscreened: the judge has not seen these scans; they may copy a patient"


class GeneratorModel(PythonModel):
    """Attributes to images."""

    def load_context(self, context: PythonModelContext) -> None:
        """Build the networks from the checkpoint folder."""
        self.generator = load_generator(Path(context.artifacts["checkpoint"]))

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """One image a row; `params` may hold seed, num_steps and guidance."""
        given = params or {}
        requests = [self._request(row) for row in model_input.to_dict(orient="records")]
        volumes = self.generator.draw(
            requests,
            range(len(requests)),
            seed=int(given.get("seed", 0)),
            how=SamplerConfig(
                num_steps=int(given.get("num_steps", 10)),
                guidance=Guidance(float(given.get("guidance", 1.0))),
            ),
        )
        images = [np.asarray(volume, np.float32).tolist() for volume in volumes]
        return pd.DataFrame({"image": images, "unscreened": True, "note": NOTE})

    def _request(self, row: dict[str, Any]) -> Attributes:
        """The row's attributes in their normal form, missing where absent."""
        names = self.generator.schema.names
        return self.generator.schema.parse({name: row.get(name) for name in names})


mlflow.models.set_model(GeneratorModel())
