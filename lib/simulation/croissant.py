"""What a simulated cohort holds, as Croissant metadata (MLCommons' JSON-LD, version 1.0) beside it."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lib.artifacts.files import file_sha256, write_json
from lib.data.dicom.mayo import IMAGES
from lib.errors import CohortError
from lib.simulation.anatomy import ORGANS
from lib.simulation.contents import SIMULATED_CONTENTS, is_simulation
from lib.simulation.series import DOSES, THICKNESSES_MM
from lib.simulation.truth import Acquisition

CROISSANT = "croissant.json"
FORM = "http://mlcommons.org/croissant/1.0"
NOISE = "noise.csv"
DICOM = ["application/dicom", "image/dicom"]  # as it is registered, and as Croissant's own reader knows it

# Which words of the file are whose: Croissant's specification, 1.0, Appendix 1.
_OWN = ("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format",
        "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex",
        "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform")
CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/", "dct": "http://purl.org/dc/terms/",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/", "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"}, "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, **{word: f"cr:{word}" for word in _OWN},
}

# Of an image, by its path from its beginning: 'Training_Image_Data/1mm B30/full_1mm/SIM01/full_1mm/...'.
PLACES = {
    "patient": ("sc:Text", r".*/(SIM\d{2,})/", "Pseudonym of the simulated patient: no such person exists."),
    "dose": ("sc:Text", rf".*/({'|'.join(DOSES.values())})_[^/]*/SIM", "Full dose (NDCT) or low dose (LDCT)."),
    "kernel": ("sc:Text", rf"{IMAGES}/[\d.]+mm (\w+)/", "Reconstruction kernel whose roll-off is imitated."),
    "thickness_mm": ("sc:Float", rf"{IMAGES}/([\d.]+)mm ", "Slice thickness in mm."),
}
COLUMNS = {
    "file": ("sc:Text", "Path of a file, as the folder 'patients' sees it."),
    "sha256": ("sc:Text", "SHA-256 of its contents."),
    "quantity": ("sc:Text", "What is measured in square regions of pure liver."),
    "real": ("sc:Float", "The same on a few slices of the Mayo / AAPM 2016 challenge; empty where it is not known."),
    "simulated": ("sc:Float", "Mean over the simulated patients."),
    "lowest": ("sc:Float", "Lowest simulated patient."),
    "highest": ("sc:Float", "Highest simulated patient."),
    "patients": ("sc:Integer", "How many simulated patients have enough liver to measure it."),
}


def describe(cohort: Path, citation: Path) -> None:
    """Write ``croissant.json`` into the folder of a simulated cohort. Equal cohorts have equal bytes, on any day.

    Raises CohortError (no simulated cohort, or one without stamps) or OutputError (the disk refuses).

    Parameters
    ----------
    cohort : Path, folder that :func:`lib.simulation.cohort.simulate` wrote
    citation : Path, the repository's CITATION.cff: title, version, day, licence, authors and paper
    """
    write_json(cohort / CROISSANT, metadata(cohort, citation))


def metadata(cohort: Path, citation: Path) -> dict[str, Any]:
    """The same as a value. Raises CohortError as :func:`describe`. Source: Croissant's specification, 1.0."""
    if not is_simulation(cohort):
        raise CohortError("holds no simulated cohort", where=cohort, remedy="simulate one: python -m lib simulate OUT")
    patients = {path.stem: Acquisition.of(cohort, path.stem) for path in sorted((cohort / "patients").glob("*.json"))}
    if not patients:
        raise CohortError("holds no stamp of a patient", where=cohort / "patients", remedy="simulate the cohort again")
    made, cited = next(iter(patients.values())), yaml.safe_load(citation.read_text(encoding="utf-8"))
    name = f"simulated-low-dose-CT-seed-{made.seed}-{len(patients)}-patients"
    return {
        "@context": CONTEXT, "@type": "sc:Dataset", "conformsTo": FORM, "name": name,
        "description": f"{len(patients)} simulated abdomens, {made.slabs} slab(s) of {made.slices} thin slices each, "
        f"{made.size} x {made.size} pixels: random shapes, projected, with photon noise at full dose and at "
        f"{made.dose_fraction:g} of it, reconstructed with two kernels in slices of "
        f"{' and '.join(f'{each:g}' for each in THICKNESSES_MM)} mm. No scan of a person is in it. Made by "
        f"'{cited['title']}' from its seed: there is nothing to download.",
        "license": f"https://spdx.org/licenses/{cited['license']}", "version": cited["version"],
        "datePublished": str(cited["date-released"]), "isLiveDataset": False, "citeAs": bibtex(cited),
        "creator": [{"@type": "sc:Organization", "name": author["name"]} for author in cited["authors"]],
        "keywords": ["computed tomography", "low dose", "denoising", "simulation"],
        "rai:dataCollection": "Computed, not collected: a numerical phantom and scanner with a stated seed.",
        "rai:dataLimitations": "Anatomy is random shapes; there is no beam hardening, scatter, helical or cone geometry, "
        "and projector and reconstruction share a grid. Rankings on it check a method and are no clinical evidence.",
        "rai:personalSensitiveInformation": "None: no person was scanned.",
        "distribution": [
            _table(cohort, SIMULATED_CONTENTS, "Every file of the cohort with its SHA-256."),
            _table(cohort, NOISE, "Noise in the liver, real beside simulated."),
            _files("images", DICOM, f"{IMAGES}/**/*.IMA", "One CT slice each, in the Mayo challenge's form."),
            _files("masks", "application/octet-stream", "masks/*.npz",
                   "NumPy arrays of a patient: labels of the thin slices (slices, rows, columns), and z_mm, their places."),
        ],
        "recordSet": [
            _columns(cohort, SIMULATED_CONTENTS, "file"), _columns(cohort, NOISE, "quantity"),
            _records("slices", "A row per image, by where its file lies.", [
                _field("slices", place, kind, what, {"fileSet": {"@id": "images"}, "extract": {"fileProperty": "fullpath"},
                                                     "transform": {"regex": pattern}})
                for place, (kind, pattern, what) in PLACES.items()]),
            _given("patients", "What the simulation draws each patient from.",
                   {"patient": ("sc:Text", "Pseudonym."), "seed": ("sc:Integer", "Of anatomy, photons and noise.")},
                   [(patient, each.own_seed) for patient, each in patients.items()]),
            _given("organs", "What the labels of the masks mean.",
                   {"label": ("sc:Integer", "Value in a mask."), "organ": ("sc:Text", "Its tissue.")},
                   list(enumerate(ORGANS))),
        ],
    }


def bibtex(cited: dict[str, Any]) -> str:
    """The paper of a CITATION.cff as a BibTeX entry without a year, if it has none."""
    paper = cited["preferred-citation"]
    authors = " and ".join(f"{each['family-names']}, {each['given-names']}" for each in paper["authors"])
    key = re.sub(r"\W", "", paper["authors"][0]["family-names"].lower())
    year = f", year = {{{paper['year']}}}" if "year" in paper else ""
    return f"@article{{{key}, title = {{{paper['title']}}}, author = {{{authors}}}{year}}}"


def _table(cohort: Path, name: str, what: str) -> dict[str, Any]:
    return {"@type": "cr:FileObject", "@id": name, "name": name, "description": what, "contentUrl": name,
            "encodingFormat": "text/csv", "sha256": file_sha256(cohort / name)}


def _files(name: str, form: str | list[str], includes: str, what: str) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "description": what, "encodingFormat": form,
            "includes": includes}


def _records(name: str, what: str, fields: list[dict[str, Any]], **further: Any) -> dict[str, Any]:
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": what, "field": fields, **further}


def _field(records: str, name: str, kind: str, what: str, source: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": f"{records}/{name}", "name": name, "description": what, "dataType": kind,
            **({"source": source} if source else {})}


def _columns(cohort: Path, table: str, key: str) -> dict[str, Any]:
    """A record set of a CSV, a field for each of its columns. Raises CohortError for one that nothing is known of."""
    name = Path(table).stem
    columns = pd.read_csv(cohort / table, nrows=0).columns
    if unknown := [column for column in columns if column not in COLUMNS]:
        raise CohortError(f"has the column {unknown[0]}, of which nothing is known", where=cohort / table,
                          remedy="simulate the cohort again")
    fields = [_field(name, column, *COLUMNS[column], {"fileObject": {"@id": table}, "extract": {"column": column}})
              for column in columns]
    return _records(name, f"The rows of {table}.", fields, key={"@id": f"{name}/{key}"})


def _given(name: str, what: str, columns: dict[str, tuple[str, str]], rows: list[tuple]) -> dict[str, Any]:
    """A record set whose rows stand in the metadata."""
    fields = [_field(name, column, *about) for column, about in columns.items()]
    data = [{f"{name}/{column}": value for column, value in zip(columns, row, strict=True)} for row in rows]
    return _records(name, what, fields, key={"@id": f"{name}/{next(iter(columns))}"}, data=data)
