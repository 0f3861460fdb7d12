"""The benchmark on tiny sizes: its code, its file, that both sides give the same results. No times."""

import json
import math
import subprocess

import keras
import numpy as np
import pytest

from benchmarks import measure, whole
from benchmarks.measure import by_turns, measured, ratio, require_close
from benchmarks.results import KNOWN, ONCE, RESULTS, TWICE, missed, table, worse
from benchmarks.setting import Setting
from lib.artifacts.provenance import arithmetic
from lib.errors import OutputError, StageError

NAMES = {"store_ratio", "pipeline_ratio", "pipeline_patches_per_s", "step_ratio_block3_conv2", "step_ratio_block5_conv4",
         "calibration_ratio", "metrics_ratio", "forward_ratio", "peak_rss_mib", "conv_fraction_of_ceiling", "moving_ratio"}


@pytest.fixture(scope="module")
def results(bench):
    """Those of one run of tiny sizes, as `python -m lib bench` leaves them, and its folder."""
    return json.loads((bench / "artifacts" / "bench.json").read_text(encoding="utf-8")), bench / "artifacts"


def test_every_name_is_there_and_is_a_positive_number(results):
    found, _ = results
    assert NAMES <= set(found) and all(math.isfinite(found[name]) and found[name] > 0 for name in NAMES)
    assert {"processor", "cores", "memory_gib", "gpu", "tensorflow", "commit", "date"} <= set(found["machine"])
    assert set(found["details"]) == {*whole.PARTS, "total_seconds"} and found["quick"]
    assert found["peak_rss_mib"] == max(each["peak_rss_mib"] for part in whole.PARTS if part != "setting"
                                        for each in found["details"][part].values())


def test_every_part_was_measured_with_the_instruction_sets_that_change_it(results):
    sets = whole.instruction_sets(arithmetic()["instructions"])
    for part in whole.PARTS:
        limits = {name: each["onednn_limit"] for name, each in results[0]["details"][part].items()}
        assert list(limits.items()) == list(sets.items())[: None if part in whole.again(tiny=True) else 1]


def test_the_table_has_every_name_with_its_target_and_nothing_else_stays(results):
    found, folder = results
    lines = table(found)
    assert len(lines) == len(RESULTS) + len(missed(found)) + 3
    assert all(any(line.startswith(what) for line in lines) for _, _, _, what in RESULTS.values())
    assert not list(folder.glob("bench-*")), "the temporary folder is gone"


def test_ours_and_the_references_give_the_same(results):
    details = results[0]["details"]
    store, pipeline, metrics = (next(iter(details[part].values())) for part in ("store", "pipeline", "metrics"))
    assert store["largest_difference_hu"] == 0 and store["bytes_ratio"] > 3.9
    assert pipeline["largest_difference"] < 1e-6 and metrics["largest_difference"] < 1e-9
    for part in ("step-block3_conv2", "step-block5_conv4"):
        for each in details[part].values():
            assert each["loss_difference"] <= 1e-4 * each["loss"]
    for each in details["forward"].values():
        assert each["largest_difference"] <= each["allowed_difference"] and each["predict_ms_a_slice"] > 0
        assert each["forward_ratio"] == pytest.approx(each["reference_ms_a_slice"] / each["ours_ms_a_slice"]), "one round"


def test_a_part_that_fails_is_one_clear_line_and_leaves_no_file(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "lib")
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    monkeypatch.setattr(whole, "PARTS", {"store": ("store",)})  # without its data
    with pytest.raises(StageError, match=r"^make bench: the part store failed: lib.errors.CohortError: .*") as error:
        whole.bench(tiny=True)
    assert caplog.messages == ["make bench, tiny sizes: the ratios mean nothing"]
    assert "\n" not in str(error.value) and list((tmp_path / "artifacts").iterdir()) == []


def _details(**second: float) -> dict:
    """Every target hit by a tenth, AVX2 as AVX-512 but for ``second``: a part's figures there, by the part's result."""
    found: dict = {part: {"AVX-512": {"peak_rss_mib": 100}} for part in whole.PARTS}
    found["setting"]["AVX-512"]["peak_rss_mib"] = 9999
    for name, (part, key, target, _) in RESULTS.items():
        found[part]["AVX-512"][key] = 1.1 * (target or 1)
        if part in whole.ONEDNN:
            found[part].setdefault("AVX2", {"peak_rss_mib": 100})[key] = second.get(name, 1.1 * (target or 1))
    return found


def test_each_result_is_the_worse_of_the_two_instruction_sets():
    details = _details(forward_ratio=1.25, calibration_ratio=9.0)
    details["forward"]["AVX2"]["peak_rss_mib"] = 150
    details["store"]["AVX-512"]["peak_rss_mib"] = 140
    found = worse(details)
    assert set(found) == NAMES
    assert found["forward_ratio"] == 1.25, "AVX2 is worse"
    assert found["calibration_ratio"] == pytest.approx(3.3), "AVX-512 is worse"
    assert found["store_ratio"] == pytest.approx(2.2), "measured once"
    assert found["peak_rss_mib"] == 150, "the larger one, and not what `setting` needs"


def test_a_miss_on_one_instruction_set_is_a_miss_and_is_explained():
    details = _details(forward_ratio=1.25)
    lines = table(worse(details) | {"details": details | {"total_seconds": 1}})
    assert lines[0].split() == ["AVX-512", "AVX2", "target"] and lines[-1] == TWICE
    at = next(number for number, line in enumerate(lines) if line.endswith("missed"))
    assert lines[at].split() == ["U-Net", "on", "whole", "slices", "1.43", "1.25", "1.30", "missed"]
    assert lines[at + 1].strip() == KNOWN["forward_ratio"]
    assert [line for line in lines if line.endswith("missed")] == [lines[at]]
    assert [name for name, why in KNOWN.items() if any(why in line for line in lines)] == ["forward_ratio"]
    assert next(line for line in lines if line.startswith("DICOM")).split()[-3:] == ["2.20", "same", "2.00"]


def test_with_one_instruction_set_there_is_one_column_and_the_table_says_so():
    details = {part: {"AVX2": found["AVX-512"]} for part, found in _details().items()}
    lines = table(worse(details) | {"details": details})
    assert lines[0].split() == ["AVX2", "target"] and lines[-1] == ONCE
    assert len(lines) == len(RESULTS) + 3 and not any("missed" in line or "same" in line for line in lines[:-1])


def test_every_target_has_an_explanation_for_its_miss_that_fits_a_line():
    assert set(KNOWN) == {name for name, (_, _, target, _) in RESULTS.items() if target is not None}
    assert all(len(why) <= 100 and "\n" not in why for why in KNOWN.values())


@pytest.mark.parametrize(("own", "sets"), [
    ("AVX-512", {"AVX-512": None, "AVX2": "AVX2"}), ("AVX2", {"AVX2": None}), ("SSE4.1", {"SSE4.1": None}),
    ("aarch64", {"aarch64": None})])
def test_two_instruction_sets_only_where_they_differ(own, sets):
    assert whole.instruction_sets(own) == sets and next(iter(whole.instruction_sets(own))) == own


def test_both_instruction_sets_of_a_part_are_measured_one_after_the_other():
    planned = [(name, each) for each, parts in whole.processes(["AVX-512", "AVX2"], tiny=False) for name in parts]
    assert planned == [(name, each) for name in whole.PARTS for each in ("AVX-512", "AVX2")
                       if each == "AVX-512" or name in {"step-block3_conv2", "step-block5_conv4", "calibration", "forward"}]
    assert whole.processes(["AVX2"], tiny=False) == [("AVX2", {name: part}) for name, part in whole.PARTS.items()]
    assert [list(parts) for _, parts in whole.processes(["AVX-512", "AVX2"], tiny=True)] == [
        list(whole.PARTS), ["forward"]]


@pytest.mark.parametrize("limit", [None, "AVX2"])
def test_the_environment_of_a_part_has_the_limit_that_is_asked_for_and_no_other(tmp_path, monkeypatch, limit):
    monkeypatch.setenv(measure.LIMIT, "SSE41")
    seen = []

    def run(command, *, env, **_):
        seen.append(env)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(measure.subprocess, "run", run)
    with pytest.raises(StageError, match="^make bench, ONEDNN_MAX_CPU_ISA=AVX2: " if limit else "^make bench: "):
        measured({"store": ("store",)}, Setting(tmp_path, tiny=True), limit)
    assert [env.get("ONEDNN_MAX_CPU_ISA") for env in seen] == [limit] and seen[0]["OUTPUT"] == str(tmp_path)


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


def test_what_is_said_of_a_miss_follows_from_the_layers():
    """Multiplications of ours and of the references, for a patch of 96 x 96, with the paper's U-Net and VGG-19."""
    from benchmarks.arithmetic import flops, step_flops
    from lib.networks.unet import unet
    from lib.perceptual import LossConfiguration, encoder, encoders, presets

    network, vgg = unet(32, seed=1), encoders.network("vgg19")
    counts = flops(network, 96)
    one, gray, colour = sum(counts.values()), {}, {}
    for phi in ("block3_conv2", "block5_conv4"):
        features = encoder(LossConfiguration(layers=phi), model=vgg)
        layers = flops(features, 96)
        gray[phi] = sum(layers.values())
        colour[phi] = gray[phi] + 2 * next(iter(layers.values()))  # the reference's first layer sees three channels
        step = (3 * one - next(iter(counts.values())) + 3 * colour[phi]) / step_flops(network, features, 96)
        assert f" {step:.2f}: " in KNOWN[f"step_ratio_{phi}"]
    deep, states, contexts = gray["block5_conv4"], 2, 2
    plain = states * contexts * sum(one + 2 * each for each in colour.values())
    given = states * (one + contexts * deep)
    why = KNOWN["calibration_ratio"]
    assert f" {plain / (given + contexts * deep):.2f} with" in why and f" {plain / given:.2f} with them there" in why
    others = len(presets.paper())
    assert f" {others * 2 * 3} to {1 + others}, or {6 * others / (1 + others):.2f};" in KNOWN["metrics_ratio"]
