"""Folders as a finished run of smoke leaves them, in a second: the tables and stamps that `lib.verify` reads, made up."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

from lib.artifacts.cache import digest
from lib.artifacts.code import code_hash
from lib.artifacts.files import file_sha256, fingerprint
from lib.verify.runs import MADE_BY

EXPERIMENTS = ("mse", "E1", "E2")
BASE = {"mse": 0.91, "E1": 0.94, "E2": 0.93}
ARITHMETIC = {"processor": "a processor", "instructions": "AVX2", "cores": 2}
PROVENANCE = "smoke profile | SIMULATED cohort"


def made_up(root: Path, seeds=(5,), noise: int | None = None, size: float = 1e-4, epochs: int = 2,
            commit: str = "0123456789", code: bool = True, claims: dict | None = None, extra: dict | None = None) -> Path:
    """A finished run below ``root``.

    ``noise`` seeds what is added to its results, SD ``size`` (None: nothing); ``code``: whether its long work was done by
    this checkout's code; ``claims`` change verdicts, ``extra`` adds variables to its arithmetic.
    """
    random = np.random.default_rng(noise)
    figures, artifacts = root / "figures" / "smoke", root / "artifacts" / "smoke"
    for folder in (figures, artifacts / "stages"):
        folder.mkdir(parents=True)

    def near(value: float) -> float:
        return value if noise is None else value + size * random.standard_normal()

    write(figures / "table3.csv", [{"experiment": "ldct", "ssim_mean": 0.8, "ssim_sd": 0.0, "paper_ssim_mean": 0.9}, *(
        {"experiment": name, "ssim_mean": near(BASE[name]), "ssim_sd": near(0.05), "psi_own": near(0.95)}
        for name in EXPERIMENTS)])
    write(figures / "calibration.csv", [
        {"experiment": name, "seed": seed, "state": state, "pl": 100 * 10 ** near(0), "psi_alg2": near(0.9),
         "lambda_exact": 1e-5 * 10 ** near(0), "lambda_used": 1e-5}
        for name in ("E1", "E2") for seed in seeds for state in ("untrained", "pilot")])
    write(figures / "self_consistency.csv", [
        {"state": "own", "experiment": "E1", "lambda_star": 2e-5, "psi": near(0.95)},
        {"state": "authors", "experiment": "E1", "lambda_star": 4.4e-6, "psi": 0.97}])
    verdicts = {"E1 is better than E2 by SSIM": "stands", "E1 is better than mse by SSIM": "undecided"} | (claims or {})
    write(figures / "claims.csv", [
        {"claim": claim, "estimate": near(0.01), "low": near(0.005), "high": np.nan, "unit": "SSIM", "verdict": verdict}
        for claim, verdict in verdicts.items()])
    (figures / "table3.md").write_text("**Table 3. Image quality\\*, mean (SD)**\n\n| a |\n")
    (figures / "fig1.png").write_bytes(b"no picture")
    metrics = artifacts / "metrics.csv"
    metrics.write_text("a\n1\n")
    _stamps(root, list(seeds), epochs, commit, code, ARITHMETIC | (extra or {}))
    return root


def write(path: Path, rows: list[dict]) -> None:
    pd.DataFrame(rows).assign(provenance=PROVENANCE).to_csv(path, index=False)


def _stamps(root: Path, seeds: list[int], epochs: int, commit: str, code: bool, arithmetic: dict) -> None:
    figures, artifacts = root / "figures" / "smoke", root / "artifacts" / "smoke"
    cohort = {"simulation": {"seed": 5, "patients": 4}, "data": None, "split": None}
    shared = {"cohort": cohort, "experiments": list(EXPERIMENTS), "seeds": seeds, "losses": {}}
    training = {"epochs": epochs, "start": "pilot", "patience": 8}
    configs = {"05_stats": shared | {"statistics": {"margin": 0.002}},
               "04_evaluate": {"cohort.division": {}, "training": training, "pilot": {"epochs": 1}} | shared}
    runs = [f"{name}_seed-{seed}" for name in EXPERIMENTS for seed in seeds]
    names = ["00_simulate", "01_preprocess", *(f"03_train_pilot_seed-{seed}" for seed in seeds), "02_calibrate_psi",
             *(f"03_train_{run}" for run in runs), *(f"04_evaluate_{run}" for run in runs), "04_evaluate", "05_stats"]
    outputs = {"01_preprocess": [figures / "fig1.png"], "05_stats": [figures / "claims.csv"],
               "04_evaluate": [artifacts / "metrics.csv", *(figures / name for name in (
                   "table3.csv", "table3.md", "calibration.csv", "self_consistency.csv"))]}
    inputs = {"05_stats": {"metrics.csv": file_sha256(artifacts / "metrics.csv"), "notebook": "print()"},
              "04_evaluate": {"brought.h5": "f" * 64}}
    for name in names:
        _stamp(artifacts / "stages" / f"{name}.json", name, configs.get(name, {}), inputs.get(name, {}),
               outputs.get(name, []), commit, "a notebook's code", arithmetic)
    for kind, (module, pattern) in MADE_BY.items():
        path = artifacts / pattern.format(experiment="E1", seed=seeds[0]).replace("*", "SIM01")
        path.parent.mkdir(parents=True, exist_ok=True)
        _stamp(path, kind, {}, {}, [], commit, code_hash({module}) if code else "other code", arithmetic)


def _stamp(path: Path, step: str, config: dict, inputs: dict, outputs: list[Path], commit: str, code: str,
           arithmetic: dict) -> None:
    path.write_text(json.dumps({
        "step": step, "key": digest({"code": code, "config": config, "inputs": inputs}), "config": config, "inputs": inputs,
        "commit": commit, "versions": {"python": "3.11.7"}, "arithmetic": [arithmetic], "seconds": 1.5,
        "outputs": {os.path.relpath(each, path.parent): fingerprint(each) for each in outputs}}))
