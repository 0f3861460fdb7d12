"""Commands on trained networks: denoise, export."""

import argparse

from lib.commands.options import print_json, run_of
from lib.deploy.trained_range import TrainedRange, trained_range
from lib.report.labels import Labels
from lib.study.config import Study, load_study


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
        print(report.table().to_string(index=False), *written, sep="\n")


def export(arguments: argparse.Namespace) -> None:
    """Hand a network on."""
    from lib.deploy import export as handing_on

    study = load_study(arguments.profile)
    run = run_of(study, arguments.experiment, arguments.seed)
    print(handing_on.export(arguments.out, run, study.paths, study.unet, Labels.of(study),
                            _seen(study) if study.paths.manifest.is_file() else None))


def _seen(study: Study) -> TrainedRange:
    return trained_range(study.paths.volumes, study.cohort.given_split, study.cohort.split_seed)
