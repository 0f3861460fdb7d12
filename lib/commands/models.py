"""Commands on trained networks: denoise, export."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lib.artifacts.files import file_sha256, write_text
from lib.commands.options import print_json, run_of
from lib.deploy.trained_range import TrainedRange, trained_range
from lib.report.labels import Labels
from lib.study.config import Study, load_study
from lib.study.runs import Run

if TYPE_CHECKING:
    from lib.deploy.export import Exported


def denoise(arguments: argparse.Namespace) -> None:
    """Denoise series, with evidence unless that is not wanted."""
    from lib.deploy import model, sheet, whole
    from lib.deploy.evidence import Subject, measure

    study = load_study(arguments.profile)
    run = run_of(study, arguments.experiment, arguments.seed)
    network = model.load(run, study.paths, study.unet, Labels.of(study))
    report = whole.denoise(
        arguments.input, arguments.output, network, _seen(study), force=arguments.force, pseudonymise=arguments.pseudonymise,
        evidence=None if arguments.no_evidence else lambda each: measure(Subject(
            each.volume(), each.spacing_mm, each.denoise, tuple(map(str, each.reasons)), each.share_outside, each.label,
            each.image_type)))
    written = sheet.write(arguments.output.expanduser(), report.evidence, {
        "model": f"{network.name}, {study.profile} profile", "sha256": network.sha256,
        "trained_on": network.provenance["made_from"], "software": f"Perceptual Influence, commit {network.version}",
    }) if report.evidence else ()
    if arguments.json:
        print_json(report.as_json() | {"evidence": [each.as_dict() for each in report.evidence]})
    else:
        print(*report.lines(), *written, sep="\n")


def export(arguments: argparse.Namespace) -> None:
    """Hand a network on."""
    study = load_study(arguments.profile)
    print(_exported(study, run_of(study, arguments.experiment, arguments.seed), arguments.out))


def release(arguments: argparse.Namespace) -> None:
    """Hand every network of the study on, that of the first seed of each experiment, as one file each."""
    from lib.deploy.export import SUMS, as_asset

    study = load_study()
    out = arguments.out or study.paths.artifacts / "release"
    assets = []
    for run in (run for run in study.runs() if run.seed == study.seed):
        folder = out / f"perceptual-influence-{study.profile}-{run.file}"
        print(_exported(study, run, folder))
        assets.append(as_asset(folder, out))
    write_text(out / SUMS, "".join(f"{file_sha256(path)}  {path.name}\n" for path in assets))
    print(*(f"{path}: {path.stat().st_size / 1e6:.1f} MB" for path in assets), out / SUMS, sep="\n")


def _exported(study: Study, run: Run, out: Path) -> "Exported":
    from lib.deploy.export import export as written

    trained = _seen(study) if study.paths.manifest.is_file() else None
    return written(out, run, study.paths, study.unet, Labels.of(study), trained)


def _seen(study: Study) -> TrainedRange:
    return trained_range(study.paths.volumes, study.cohort.given_split, study.cohort.split_seed)
