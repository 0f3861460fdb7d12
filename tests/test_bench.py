"""The benchmark on tiny sizes: its code, its file, that both sides give the same results. No times."""

import json
import math

import keras
import numpy as np
import pytest

from benchmarks import whole
from benchmarks.measure import by_turns, measured, ratio, require_close
from benchmarks.setting import Setting
from lib.errors import OutputError, StageError

NAMES = {"store_ratio", "pipeline_ratio", "pipeline_patches_per_s", "step_ratio_block3_conv2", "step_ratio_block5_conv4",
         "calibration_ratio", "metrics_ratio", "forward_ratio", "peak_rss_mib", "conv_fraction_of_ceiling"}


@pytest.fixture(scope="module")
def results(bench):
    """Those of one run of tiny sizes, as `python -m lib bench` leaves them, and its folder."""
    return json.loads((bench / "artifacts" / "bench.json").read_text(encoding="utf-8")), bench / "artifacts"


def test_every_name_is_there_and_is_a_positive_number(results):
    found, _ = results
    assert NAMES <= set(found) and all(math.isfinite(found[name]) and found[name] > 0 for name in NAMES)
    assert {"processor", "cores", "memory_gib", "gpu", "tensorflow", "commit", "date"} <= set(found["machine"])
    assert set(found["details"]) == {*whole.PARTS, "total_seconds"}
    assert found["quick"] and found["peak_rss_mib"] == max(
        found["details"][part]["peak_rss_mib"] for part in whole.PARTS if part != "setting")


def test_the_table_has_every_name_with_its_target_and_nothing_else_stays(results):
    found, folder = results
    lines = whole.table(found)
    assert len(lines) == len(whole.RESULTS) + 2 and any("training step, block5_conv4" in line for line in lines)
    assert not list(folder.glob("bench-*")), "the temporary folder is gone"


def test_ours_and_the_references_give_the_same(results):
    details = results[0]["details"]
    assert details["store"]["largest_difference_hu"] == 0 and details["store"]["bytes_ratio"] > 3.9
    assert details["pipeline"]["largest_difference"] < 1e-6
    assert details["metrics"]["largest_difference"] < 1e-9
    for part in ("step-block3_conv2", "step-block5_conv4"):
        assert details[part]["loss_difference"] <= 1e-4 * details[part]["loss"]


def test_a_part_that_fails_is_one_clear_line_and_leaves_no_file(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "lib")
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    monkeypatch.setattr(whole, "PARTS", {"store": ("store",)})  # without its data
    with pytest.raises(StageError, match=r"^make bench: the part store failed: lib.errors.CohortError: .*") as error:
        whole.bench(tiny=True)
    assert caplog.messages == ["make bench, tiny sizes: the ratios mean nothing"]
    assert "\n" not in str(error.value) and list((tmp_path / "artifacts").iterdir()) == []


def test_a_part_that_does_not_exist(tmp_path):
    with pytest.raises(StageError, match="the part nothing failed: ModuleNotFoundError"):
        measured({"nothing": ("nothing",)}, Setting(tmp_path, tiny=True))


def test_no_room_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    monkeypatch.setattr(whole, "NEEDED_BYTES", 1e18)
    with pytest.raises(OutputError, match="free some"):
        whole.bench()


def test_works_alternate_and_ratios_compare_neighbours():
    order = []
    seconds = by_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 3 and {len(values) for values in seconds.values()} == {3}
    assert ratio([2.0, 20.0, 9.0], [1.0, 10.0, 3.0]) == 2.0


def test_different_results_are_refused():
    assert require_close("x", [1.0, 2.0], [1.0, 2.5], atol=0.5) == 0.5
    with pytest.raises(StageError, match="x: ours and the plain reference differ by up to 0.5"):
        require_close("x", [1.0, 2.0], [1.0, 2.5], rtol=1e-3)
    with pytest.raises(StageError):
        require_close("x", np.nan, 1.0, atol=1.0)


def test_arithmetic_is_counted_from_the_layers():
    """97 GFLOP for a slice through the paper's U-Net (the facts say 97; 96.3 without bias, pooling, sigmoid)."""
    from benchmarks.arithmetic import flops, step_flops
    from lib.networks.unet import unet
    from lib.perceptual import LossConfiguration, encoder, encoders

    network = unet(32, seed=1)
    assert sum(flops(network, 512).values()) == pytest.approx(96.3e9, rel=1e-2)
    image = keras.Input((8, 8, 1))
    small = keras.Model(image, keras.layers.Conv2DTranspose(3, 2, strides=2)(keras.layers.Conv2D(5, 3)(image)))
    assert list(flops(small, 8).values()) == [2 * 36 * 9 * 5, 2 * 36 * 4 * 5 * 3]
    features = encoder(LossConfiguration(layers="block1_conv1"), model=encoders.network("vgg19"))
    assert step_flops(small, features, 8) == 2 * 3240 + 3 * 4320 + 2 * (2 * 64 * 9 * 64)
