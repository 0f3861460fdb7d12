"""The picture of low-dose insertion says what is real, and is the same for the same input."""

import numpy as np
import pytest
from PIL import Image

from lib.report.added_noise import figure_added_noise


@pytest.mark.parametrize(("shape", "centre"), [((64, 64), None), ((33, 57), (0, 56))])
def test_the_picture_is_labelled_and_reproducible(tmp_path, shape, centre):
    generator = np.random.default_rng(0)
    ndct = generator.normal(40, 10, shape).astype(np.float32)
    options = {"dose_fraction": 0.25, "source": "SIMULATED scan, B30, 1 mm", "sd_hu": (10.0, 20.1), "centre": centre}
    ldct = ndct + generator.normal(0, 17, shape)
    paths = [figure_added_noise(tmp_path / f"{name}.png", ndct, ldct, **options) for name in ("one", "two")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0]) as image:
        text, colours = image.info["Description"], image.convert("RGB").getcolors(1 << 24)
    assert "inserted by simulation at dose fraction 0.25" in text and "SIMULATED scan, B30, 1 mm" in text
    assert len(colours) > 200


def test_nothing_but_air_and_no_noise_can_be_drawn(tmp_path):
    air = np.full((16, 16), -1000, np.int16)
    assert figure_added_noise(tmp_path / "a.png", air, air, dose_fraction=0.1, source="real scan").is_file()
