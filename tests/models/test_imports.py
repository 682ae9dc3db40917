"""On a bare GPU machine there is torch, numpy, monai, jaxtyping and two files of core."""

import subprocess
import sys

PROBE = """
import importlib, pkgutil, sys

torch_needs = "typing_extensions sympy mpmath networkx jinja2 markupsafe filelock fsspec".split()
others_need = ["einops", "wadler_lindig", "packaging"]
ours = ("medsynth", "medsynth.core", "medsynth.core.schema", "medsynth.models")
ours += ("medsynth.core.text",)
tops = {*sys.stdlib_module_names, "numpy", "torch", "torchgen", "functorch", "monai", "jaxtyping"}
tops |= {*torch_needs, *others_need}

class OnlyTheseFew:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top == "medsynth":
            allowed = name in ours or name.startswith("medsynth.models.")
        else:
            allowed = top in tops or top.startswith("_sysconfigdata")
        return self.finder.find_spec(name, path, target) if allowed else None

sys.meta_path[:] = map(OnlyTheseFew, sys.meta_path)
import medsynth.models
for module in pkgutil.iter_modules(medsynth.models.__path__):
    importlib.import_module(f"medsynth.models.{module.name}")
print("imported")
"""


def test_models_import_with_everything_else_blocked():
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    assert done.stdout.strip().endswith("imported"), done.stderr[-2000:]
