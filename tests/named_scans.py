"""Scans of people with names: wherever a header, a folder or a file can hold one, it does."""

from pathlib import Path

import pydicom

PEOPLE = ("Zyxwell^Hildegund", "Quirkmann^Ottokarine", "Vexley^Idabelle", "Umbrov^Januszka")
HOSTILE = {
    "PatientID": "MRN-9021{}", "PatientBirthDate": "1971030{}", "ReferringPhysicianName": "Ruhmkorff^Dr{}",
    "InstitutionName": "Wolkenklinik{}", "StudyDescription": "Geheimstudie{}", "SeriesDescription": "Vertraulich{}",
    "AccessionNumber": "ACC7788{}", "StudyInstanceUID": "1.2.826.0.1.3680043.99.1.{}",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.99.2.{}", "FrameOfReferenceUID": "1.2.826.0.1.3680043.99.3.{}",
    "SOPInstanceUID": "1.2.826.0.1.3680043.99.4.{}", "StudyDate": "2019110{}", "StationName": "STATIONXY{}",
}  # fmt: skip
STRINGS = [part for name in PEOPLE for part in name.split("^")] + [
    "MRN-9021", "1971030", "Ruhmkorff", "Wolkenklinik", "Geheimstudie", "Vertraulich", "ACC7788", "1.2.826.0.1.3680043.99",
    "2019110", "STATIONXY", "Aufnahme_von", "Nachlass",
]  # fmt: skip


def archive(cohort: Path, folder: Path) -> Path:
    """Normal-dose scans of four people, from the smoke study's cohort, in folders and files that have their names; some
    of each cannot be used."""
    root = folder / "Nachlass Zyxwell"
    series = sorted(cohort.rglob("full_1mm/*/full_1mm"))
    series = [folder for folder in series if "B30" in str(folder)]
    for number, (name, folder) in enumerate(zip(PEOPLE, series, strict=True)):
        for place, path in enumerate(sorted(folder.glob("*.IMA"))):
            ds = pydicom.dcmread(path)
            ds.PatientName, ds.Manufacturer, ds.PatientComments = name, "ACME", name
            for keyword, form in HOSTILE.items():
                setattr(ds, keyword, form.format(number))
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID}.{place}"
            for keyword in ("DerivationDescription", "ImageComments"):
                delattr(ds, keyword)
            if place == 1:
                ds.PixelData = b"\xff" * len(ds.PixelData)  # cannot be decoded
            kept = root / name.replace("^", ", ") / f"Aufnahme_von_{name.split('^')[0]}_{place}.dcm"
            kept.parent.mkdir(parents=True, exist_ok=True)
            ds.save_as(kept, enforce_file_format=True)
        (kept.parent / f"Aufnahme_von_{name}_kaputt.dcm").write_bytes(kept.read_bytes()[:900])
    return root
