import numpy as np
import pytest

from medsynth.train.latents import evened

SD = np.array([4.0, 1.0, 0.25])


def test_channels_are_equally_strong_or_keep_their_proportions():
    np.testing.assert_allclose(SD / evened(SD, 0.0), 1.0)
    np.testing.assert_allclose(SD / evened(SD, 1.0), SD / np.sqrt(np.square(SD).mean()))


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_between_them_proportions_are_a_power(share):
    strength = SD / evened(SD, share)
    np.testing.assert_allclose(strength[:-1] / strength[1:], 4**share)
