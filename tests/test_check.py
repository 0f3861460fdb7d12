"""Know before you start: what the check says of whole, partial and unusable cohorts, encoders, devices and disks."""

import logging
import shutil
from collections import namedtuple

import pandas as pd
import pytest
import tensorflow as tf

from lib.check import burst, machine
from lib.check.report import Report
from lib.check.scans import check_split, find_scans, simulated_pairs
from lib.check.whole import check
from lib.data.patients import pseudonym
from lib.data.store.reading import load_manifest, pairs
from lib.paper import published
from lib.stages import inputs
from lib.study import load_study
from tests import trees


@pytest.fixture(autouse=True)
def everything_is_logged(caplog):
    caplog.set_level(logging.INFO)


def mayo(data, patients=("L067", "L192", "L096", "L506"), doses=("full", "quarter")):
    for number, patient in enumerate(patients):
        for dose in doses:
            trees.mayo(data, f"3mm B30/{dose}_3mm/{patient}", patient=patient, dose=dose, thickness_mm=3.0,
                       z=(0.0, 2.0, 4.0), hu=trees.image(number, 97, 110))
    return data


def scans(study):
    report = Report()
    found = find_scans(study.cohort, report)
    parts = check_split(study.cohort, found, report) if found is not None else None
    return report, found, parts


def test_a_partial_delivery_is_reported_series_by_series_and_can_run(tmp_path, monkeypatch, caplog):
    data = mayo(tmp_path / "mayo")
    (data / "3mm B30" / "full_3mm" / "L067" / "cut.IMA").write_bytes(b"\0" * 128 + b"DICM")
    monkeypatch.setenv("DATA", str(data))
    report, found, parts = scans(load_study("demo"))
    assert not report.errors and len(found) == 12 and {name: len(part) for name, part in parts.items()} == {
        "train": 3, "validation": 3, "test": 6}
    text = "\n".join(caplog.messages)
    assert "12 pairs; the paper has 16,628" in text and "partial: 0 of 5,936 pairs of D45 1 mm" in text
    assert "partial: L067 has 3 of 224 pairs of B30 3 mm" in text and "partial: 12 of 2,378 pairs of B30 3 mm" in text
    assert [line for line in report.warnings if "cut.IMA" in str(line)], "each problem with its file"
    assert "the paper's split" in text and "no pairs of L109, L143" in text
    header = next(line for line in caplog.messages if "B30 3 mm" in line and "L067" in line)
    assert "quarter" in header and "pairs" in header
    assert [line.split() for line in header.splitlines()][-2:] == [["total", "12", "12", "12"], ["expected"] + ["2378"] * 3]


def test_normal_dose_alone_says_what_to_pass_and_insertion_uses_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("DATA", str(mayo(tmp_path / "mayo", doses=("full",))))
    report, found, _ = scans(load_study("demo"))
    assert found is None
    assert "no slice at two doses: to insert a low dose into normal-dose scans, pass INSERT" in str(report.errors[0])
    monkeypatch.setenv("INSERT", "0.25")
    report, found, parts = scans(load_study("demo"))
    assert not report.errors and len(found) == 12 and pseudonym("L067") in set(found["patient"])
    assert "patients divided at random, seed 5" in caplog.messages and min(map(len, parts.values())) > 0


def test_a_folder_without_scans_and_a_split_without_patients_are_errors(tmp_path, monkeypatch, caplog):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("DATA", str(tmp_path / "empty"))
    report, found, _ = scans(load_study("demo"))
    assert found is None and "no usable CT slice" in str(report.errors[0])
    monkeypatch.setenv("DATA", str(mayo(tmp_path / "mayo", patients=("L067", "L192"))))
    report, _, parts = scans(load_study("demo"))
    assert parts is None and "no pairs for test" in str(report.errors[0])
    assert Report().conclude() and not report.conclude() and "the run cannot start: 1 error," in caplog.text


def test_the_simulations_pairs_are_those_that_it_makes(smoke_study):
    expected = simulated_pairs(smoke_study.cohort.simulation)
    made = pairs(load_manifest(smoke_study.paths.volumes))
    names = ["patient", "kernel", "thickness_mm"]
    pd.testing.assert_series_equal(made.groupby(names).size(), expected.groupby(names).size())


def test_patches_are_counted_as_training_has_them(smoke_study):
    settings = smoke_study.training.model_copy(update={"max_patches": None})
    study = smoke_study.model_copy(update={"training": settings})
    parts = {name: part.assign(rows=128, columns=128) for name, part in inputs.subsets(study).items()}
    assert machine.patches_of(settings, parts) == {name: len(inputs.patches(study, name, 5))
                                                    for name in ("train", "validation")}
    assert machine.patches_of(smoke_study.training, parts) == {"train": 24, "validation": 8}


def test_too_little_disk_and_no_gpu_are_reported_before_the_run(study, monkeypatch):
    report, found, parts = scans(study)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6 - 1000, 1000))
    machine.check_room(study, found, machine.patches_of(study.training, parts), report)
    assert "GiB are needed and 0.0 GiB are free: free some space, or pass OUTPUT=folder" in str(report.errors[0])
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    machine.check_devices(study.model_copy(update={"profile": "paper"}), report)
    assert "no GPU is visible" in str(report.warnings[-1])


def test_wrong_encoder_weights_are_an_error(study, tmp_path):
    file = tmp_path / "vgg.weights.h5"
    file.write_bytes(b"no weights")
    encoder = study.encoder.model_copy(update={"weights": file})
    report = Report()
    machine.check_encoders(study.model_copy(update={"encoder": encoder}), report)
    assert len(report.errors) == 1 and "vgg.weights.h5 does not hold the weights of vgg16" in str(report.errors[0])


@pytest.mark.parametrize("context", ["Medical", "ImageNet"])
def test_a_layer_that_no_network_has_is_one_error(context, tmp_path, monkeypatch, caplog):
    file = tmp_path / "mine.yaml"
    file.write_text(f"losses: {{mine: {{layers: [block9_conv9], weights: {context}}}}}\nexperiments: [mine]\n")
    monkeypatch.setenv("EXPERIMENTS", str(file))
    assert not check(load_study("smoke"), burst=False)
    assert [text.split(", choose")[0] for text in caplog.messages if text.startswith("losses")] == [
        "losses: layers: vgg16 has no layer block9_conv9"]


def test_an_out_of_memory_burst_says_which_batch_to_try(study, monkeypatch):
    def full(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr(burst, "_step_seconds", full)
    report, _, parts = scans(study)
    burst.check_time(study, parts, {"train": 24, "validation": 8}, report)
    assert report.errors == ["out of memory at training.batch 4: try SET=training.batch=2"]


def test_the_whole_check_of_a_study_that_can_run(study, monkeypatch, caplog):
    monkeypatch.setattr(burst, "STEPS", 1)
    assert check(study.model_copy(update={"experiments": ("mse", "E3")}))
    text = "\n".join(caplog.messages)
    for section in ("Scans", "Split", "Encoders", "Devices", "Disk", "Time and memory", "Result"):
        assert f"\n{section}" in text
    assert "the run can start, 0 warnings" in text and "03 E3, seed 5" in text and "in all, roughly" in text


def test_made_volumes_stand_in_for_the_scans(smoke_study, caplog):
    assert check(smoke_study, burst=False, scans=False)
    assert "\nScans" not in caplog.text


def test_paper_counts_are_consistent():
    assert sum(published.PAIRS_BY_SERIES.values()) == published.PAIRS
    assert sum(published.SLICES_3MM_BY_PATIENT.values()) == published.SLICES_3MM
