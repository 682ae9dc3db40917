import pytest

from medsynth.core.schema import Attribute
from medsynth.core.views import STEPS, Views


def test_views_are_read_as_they_were_written(tmp_path):
    views = Views({"age": (("a", "b"), ("c", "d")), STEPS: (("e", "f", "g"),), "sex": ()})
    views.write(tmp_path)
    assert Views.read(tmp_path) == views


def test_no_attribute_can_be_named_like_the_trajectories():
    with pytest.raises(ValueError, match="identifier"):
        Attribute(STEPS, "text")
