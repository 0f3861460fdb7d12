"""What the benchmark tells: the targets, the worse of the instruction sets, the table with a line for each miss.

``details`` is always {part: {instruction set: {name: figure}}}; a part that was measured once has the processor's own alone.
"""

RESULTS = {  # name in the JSON file: part, name there, target, what it is
    "store_ratio": ("store", "store_ratio", 2.0, "DICOM to store, slices/s"),
    "pipeline_ratio": ("pipeline", "pipeline_ratio", 10.0, "patches, patches/s"),
    "pipeline_patches_per_s": ("pipeline", "pipeline_patches_per_s", 13000.0, "patches/s"),
    "step_ratio_block3_conv2": ("step-block3_conv2", "step_ratio", 1.15, "training step, block3_conv2"),
    "step_ratio_block5_conv4": ("step-block5_conv4", "step_ratio", 1.3, "training step, block5_conv4"),
    "moving_ratio": ("step-block3_conv2", "moving_ratio", 0.97, "fixed lambda by a moving one, a step"),
    "calibration_ratio": ("calibration", "calibration_ratio", 3.0, "calibration of four configurations"),
    "metrics_ratio": ("metrics", "metrics_ratio", 4.0, "metrics of all experiments"),
    "forward_ratio": ("forward", "forward_ratio", 1.3, "U-Net on whole slices"),
    "conv_fraction_of_ceiling": ("step-block5_conv4", "fraction_of_ceiling", None, "step over the best convolution"),
}
KNOWN = {  # of a miss; multiplications are counted at the paper's sizes
    "store_ratio": "ours also hashes every file and reads the store back; the reference's speed hangs on the disk",
    "pipeline_ratio": "both read from the page cache: without memory for it both wait for the disk",
    "pipeline_patches_per_s": "an absolute figure: it hangs on the cores and on what else they do",
    "step_ratio_block3_conv2": "by multiplications of direct convolutions 1.18: the rest is Winograd's, least with AVX-512",
    "step_ratio_block5_conv4": "by multiplications of direct convolutions 1.29: the rest is Winograd's, least with AVX-512",
    "moving_ratio": "a rule reads four numbers of the step and writes one, whatever the network",
    "calibration_ratio": "by direct convolutions 2.14 with the targets' features made for it, 3.01 with them there",
    "metrics_ratio": "counted in images of one channel 36 to 7, or 5.14; the second thread needs an idle core",
    "forward_ratio": "the same path: only Winograd's wide 3 x 3 convolutions can gain, less what their transforms cost",
}
TWICE = "AVX2: oneDNN held to it; same: measured once, oneDNN plays no part; missed: by the worse of the two"
ONCE = "measured once: no AVX-512 is known of this processor, so that holding oneDNN to AVX2 changes nothing"
UNMEASURED = ("setting",)  # it prepares; its memory is no result


def worse(details: dict) -> dict[str, float]:
    """Each result on the instruction set where it is worse: the smallest figure, of ``peak_rss_mib`` the largest."""
    sets = instruction_sets(details)
    found = {name: min(figure(details, part, key, each) for each in sets) for name, (part, key, _, _) in RESULTS.items()}
    return found | {"peak_rss_mib": max(peak(details, each) for each in sets)}


def instruction_sets(details: dict) -> list[str]:
    """Those that something was measured with, the processor's own first."""
    return list(dict.fromkeys(each for measured in details.values() for each in measured))


def figure(details: dict, part: str, key: str, instructions: str) -> float:
    """One figure with an instruction set; where the part was measured once, that one."""
    measured = details[part]
    return measured.get(instructions, next(iter(measured.values())))[key]


def peak(details: dict, instructions: str) -> float:
    """The largest memory of a part, MiB."""
    return max(figure(details, part, "peak_rss_mib", instructions) for part in details if part not in UNMEASURED)


def missed(results: dict) -> list[str]:
    """Names of the results that are below their targets."""
    return [name for name, (_, _, target, _) in RESULTS.items() if target is not None and results[name] < target]


def table(results: dict) -> list[str]:
    """The results as lines of text: a column for each instruction set, the targets, and what is known of each miss.

    Parameters
    ----------
    results : mapping
        What ``artifacts/bench.json`` holds.
    """
    details = {part: measured for part, measured in results["details"].items() if isinstance(measured, dict)}
    sets, below = instruction_sets(details), missed(results)
    lines = [_row("", *sets, "target")]
    for name, (part, key, target, what) in RESULTS.items():
        digits = ",.0f" if name.endswith("per_s") else ".2f"
        found = [format(details[part][each][key], digits) if each in details[part] else "same" for each in sets]
        row = _row(what, *found, "" if target is None else format(target, digits))
        lines += [f"{row}  missed", f"    {KNOWN[name]}"] if name in below else [row]
    lines.append(_row("peak memory of a part, MiB", *(f"{peak(details, each):,.0f}" for each in sets)))
    return [*lines, TWICE if len(sets) > 1 else ONCE]


def _row(what: str, *values: str) -> str:
    return f"{what:<40}{''.join(f'{value:>10}' for value in values)}".rstrip()
