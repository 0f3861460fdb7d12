"""S6: noise, sharpness and detectability of the test slices after each network, as medical physicists measure them."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from scipy import fft, ndimage

from lib.artifacts.cache import Step
from lib.artifacts.files import atomic, write_csv
from lib.data import split
from lib.data.slices import by_series
from lib.data.store.reading import open_volume
from lib.data.workers import cores
from lib.denoiser.inference import denoise
from lib.metrics import noise_power, observer
from lib.metrics.fidelity import vif
from lib.metrics.image_quality import window_metrics
from lib.metrics.regions import MIN_PIXELS, body, inner, soft_tissue
from lib.metrics.task_transfer import FREQUENCIES, frequency_at, from_disc, from_front, nyquist, profile, transfer
from lib.networks.unet import unet
from lib.networks.vgg import load_weights
from lib.simulation.contents import SIMULATED_CONTENTS
from lib.simulation.truth import Acquisition, noise_free_slice
from lib.stages.evaluate import KEYS, LDCT
from lib.stages.scenes import CORE, LESION_MM, Scene, scenes
from lib.study.config import Study
from lib.study.runs import Run
from lib.study.sections import UNet

NDCT: Final = "ndct"  # the target itself, measured like an experiment
LESION_HU: Final = -12.0  # of the lesion against its organ: neither sure to be seen at the low dose nor lost
LIVER_WINDOW: Final = (25.0, 175.0)  # HU: level 100, width 150
REACH_MM: Final = 6.0  # from the patient's surface, to both sides
SIDES: Final = (24, 16, 8)  # pixels, of squares of tissue whose spectrum is taken: the largest of which there are ...
LEAST: Final = 8  # so many
GAUSSIANS: Final = 6 * np.linspace(0, 1, 31) ** 2  # pixels, SD of filters to which a network is compared
BATCH: Final = 32  # crops per forward pass
SEED: Final = 5  # of the bootstrap

Work = Callable[[np.ndarray], np.ndarray]


class Lesions(NamedTuple):
    """What became of the lesion and the noise around it; the first index is the patient."""

    patients: np.ndarray  # str, (patients,)
    power: np.ndarray  # (patients, CORE, CORE), noise power spectrum, HU^2 mm^2
    transfer: np.ndarray  # (patients, frequencies), of the lesion's edge
    contrast: np.ndarray  # (patients,), share of the lesion's contrast that is left
    texture: np.ndarray  # (patients,), share of its organ's own texture that is left
    gaussian: np.ndarray  # (patients, GAUSSIANS, 2), shares of LDCT's noise and of that texture that Gaussian filters leave
    absent: np.ndarray  # (patients, pairs, channels), what the observer's channels see without the lesion
    present: np.ndarray  # (patients, pairs, channels), and with it


class Measured(NamedTuple):
    """Of one run, or of LDCT or NDCT."""

    slices: pd.DataFrame  # a row per slice: KEYS, then of :func:`measure_slice`
    edges: np.ndarray  # (slices, frequencies), task transfer at the patient's surface
    lesions: Lesions | None  # where the scans are simulated


def measured(study: Study) -> dict[tuple[str, int | None], Measured]:
    """Everything that S6 measures, by experiment and seed, 'ndct' and 'ldct' first: the middle slice of every test series,
    and the scenes of :mod:`lib.stages.scenes`. Each run has a step of its own in ``paths.image_quality``."""
    test = split.subsets(study.paths.volumes, study.cohort.given_split, study.cohort.split_seed)["test"]
    slices = by_series(test, 1)
    known = scenes(study, slices)
    inputs: list[Run | str] = [NDCT, LDCT, *study.runs()]
    network = _Network(study.unet)
    return {(each, None) if isinstance(each, str) else tuple(each): _measured(study, each, slices, known, network)
            for each in inputs}


class _Network:
    """One network, whose weights are set to those of a run, so that it is traced once for each size of images."""

    def __init__(self, settings: UNet):
        self.network = unet(**settings.architecture, seed=0)
        self._loaded: Path | None = None

    def of(self, weights: Path) -> Work:
        """What the network with these weights makes of images, (images, rows, columns), HU."""
        def work(images: np.ndarray) -> np.ndarray:
            if self._loaded != weights:
                load_weights(self.network, weights)
                self._loaded = weights
            parts = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
            return np.concatenate([denoise(self.network, part) for part in parts])

        return work


def _measured(study: Study, run: Run | str, slices: pd.DataFrame, known: Mapping[str, Scene],
              network: _Network) -> Measured:
    """Of one run, measured or read."""
    paths, name = study.paths, run if isinstance(run, str) else run.file
    table, curves = (paths.image_quality / f"{name}{ending}" for ending in (".csv", ".npz"))
    contents = {"manifest": paths.manifest} | {patient: paths.scenes / f"{patient}.npz" for patient in known}
    if isinstance(run, Run):
        contents["weights"] = paths.weights(run)
    if study.simulated:
        contents["cohort"] = study.data / SIMULATED_CONTENTS
    step = Step(f"image quality of {run}", table.with_suffix(".json"), {"lib.stages.image_quality"},
                {"cohort": study.cohort.division, "unet": study.unet}, contents, [table, curves])
    if not step.is_current():
        with step.making(run=str(run)):
            work = np.asarray if isinstance(run, str) else network.of(paths.weights(run))
            rows, edges = zip(*_slices(slices, paths.volumes, known, work, target=run == NDCT), strict=True)
            found = {} if not known else _lesions(slices, known, work, target=run == NDCT)._asdict()
            write_csv(table, pd.concat([slices[KEYS], pd.DataFrame(list(rows))], axis=1))
            with atomic(curves) as temporary:
                np.savez(temporary, edges=np.stack(edges), **found)
    with np.load(curves, allow_pickle=False) as kept:
        lesions = Lesions(*(kept[field] for field in Lesions._fields)) if known else None
        return Measured(pd.read_csv(table), kept["edges"], lesions)


def _slices(slices: pd.DataFrame, store: Path, known: Mapping[str, Scene], work: Work,
            target: bool) -> list[tuple[dict[str, float], np.ndarray]]:
    """Each slice after a network, or the input or the target itself: a row, and its edge's transfer."""
    found: list[tuple[dict[str, float], np.ndarray]] = []
    with ThreadPoolExecutor(cores()) as pool:
        for patient, own in slices.groupby("patient", sort=False):
            scene, arguments = known.get(str(patient)), []
            for place, row in enumerate(own.itertuples()):
                ldct, ndct = (open_volume(store, volume).slice(own["index"].iloc[place]).astype(np.float32)
                              for volume in (row.ldct, row.ndct))
                image = ndct if target else work(ldct[None])[0]
                truth = (scene.free[place], scene.object_hu[place]) if scene else (None, None)
                arguments.append((image, ndct, row.pixel_mm, *truth))
            found += pool.map(measure_slice, *zip(*arguments, strict=True))  # threads beside a network would slow it down
    return found


def measure_slice(image_hu: np.ndarray, ndct_hu: np.ndarray, pixel_mm: float, free_hu: np.ndarray | None = None,
                  object_hu: np.ndarray | None = None) -> tuple[dict[str, float], np.ndarray]:
    """Numbers of one slice by the names of their columns, and the task transfer function of the patient's surface.

    * vif, ssim_liver_window: against the NDCT, in [-160, 240] and in [25, 175] HU; vif_free: against the noise-free slice;
      NaN without one.
    * residual_sd_hu, residual_peak_per_mm, residual_mean_per_mm: of the spectrum of what is left over in squares of soft
      tissue (chosen by the NDCT), each less its own mean: the image less the noise-free slice, which has all that a network
      did to the anatomy, too; without one the image less a quadratic surface, which has the tissue's own texture.
    * residual_bias_hu: the mean of the former over the squares; NaN without a noise-free slice.
    * edge_f50_per_mm: where the transfer at the patient's surface is one half; NaN where that is beyond what pixels show. It
      is freed of skin and pixels by the
      ``object_hu``; without one it is that of the surface as it shows, skin and all.

    Parameters
    ----------
    image_hu, ndct_hu, free_hu, object_hu : array, (rows, columns), HU; the last two of :class:`lib.simulation.truth.Slice`
    pixel_mm : float, NaN if unknown: no spectrum and no transfer then
    """
    reference = ndct_hu if free_hu is None else free_hu
    squares = _squares(image_hu if free_hu is None else image_hu - free_hu, ndct_hu)
    noise = noise_power.summary(noise_power.spectrum(
        noise_power.without_trend(squares) if free_hu is None else noise_power.without_mean(squares), pixel_mm), pixel_mm)
    edge = np.full(FREQUENCIES.shape, np.nan)
    if np.isfinite(pixel_mm):
        distance = from_front(reference, body(ndct_hu), pixel_mm, REACH_MM)
        edge = transfer(*(profile(each, distance, pixel_mm, REACH_MM) for each in (image_hu, object_hu) if each is not None))
    found = {"vif": vif(image_hu, ndct_hu), "ssim_liver_window": window_metrics(image_hu, ndct_hu, LIVER_WINDOW).ssim,
             "vif_free": np.nan if free_hu is None else vif(image_hu, free_hu)}
    bias = float(squares.mean()) if free_hu is not None and len(squares) else np.nan
    f50 = frequency_at(0.5, edge, highest=nyquist(pixel_mm))
    return found | {"residual_bias_hu": bias, "residual_sd_hu": noise.sd, "residual_peak_per_mm": noise.peak,
                    "residual_mean_per_mm": noise.mean, "edge_f50_per_mm": f50}, edge


def _squares(image: np.ndarray, ndct_hu: np.ndarray) -> np.ndarray:
    """Squares of soft tissue, by the NDCT, (squares, side, side)."""
    soft = soft_tissue(ndct_hu)
    side = next((side for side in SIDES if len(noise_power.regions(ndct_hu, soft, side)) >= LEAST), SIDES[-1])
    return noise_power.regions(image, soft, side)


def residual_sd(residual_hu: np.ndarray, ndct_hu: np.ndarray) -> float:
    """SD of what is left over in squares of soft tissue, each less its own mean, HU; NaN where there are none."""
    squares = noise_power.without_mean(_squares(residual_hu, ndct_hu))
    return float(np.sqrt(np.mean(squares**2))) if len(squares) else np.nan


def _lesions(slices: pd.DataFrame, known: Mapping[str, Scene], work: Work, target: bool) -> Lesions:
    """Every patient's."""
    pixels = slices.drop_duplicates("patient").set_index("patient")["pixel_mm"]
    found = [measure_scene(scene.full if target else scene.low, scene, pixels[patient], work)
             for patient, scene in known.items()]
    return Lesions(np.array(list(known)), *(np.stack(each) for each in zip(*found, strict=True)))


def measure_scene(noisy: np.ndarray, scene: Scene, pixel_mm: float, work: Work,
                  lesion_hu: float = LESION_HU) -> tuple[np.ndarray, ...]:
    """The fields of :class:`Lesions` after the first, of one patient. ``noisy`` is the scene's full or low dose, which
    ``work`` gets without and with the lesion of ``lesion_hu``; both in the same noise, so that their difference is what
    becomes of the lesion in it."""
    cut = tuple(slice(at - CORE // 2, at + CORE // 2) for at in np.rint(scene.centre).astype(int))
    absent, present = (work(noisy + height * scene.lesion).astype(np.float64) for height in (0.0, np.float32(lesion_hu)))
    power = noise_power.spectrum(noise_power.of_realisations(absent[:, *cut]), pixel_mm)
    response, side = (present - absent).mean(axis=0) / lesion_hu, len(scene.disc)
    distance = from_disc(side, pixel_mm, (scene.centre[0], scene.centre[1]), LESION_MM)
    seen, own = (profile(each, distance, pixel_mm, LESION_MM / 2) for each in (response, scene.disc))
    middle = distance <= -LESION_MM / 4
    contrast = response[middle].mean() / scene.lesion[middle].mean()
    pure = np.zeros(scene.organ.shape, bool)
    pure[cut] = (inner(scene.organ.view(np.uint8)) & scene.organ)[cut]
    texture = _texture_left(absent.mean(axis=0), scene.truth, pure)
    channels = observer.gabor_channels(CORE, LESION_MM / pixel_mm)
    return (power, transfer(seen, own), np.array(contrast), np.array(texture), _gaussians(scene, cut, pure, pixel_mm),
            *(observer.seen(each[:, *cut], channels) for each in (absent, present)))


def _texture_left(image: np.ndarray, truth: np.ndarray, pure: np.ndarray) -> float:
    """Slope of an image against the noise-free one in an organ; NaN where it has too few pixels."""
    if np.count_nonzero(pure) < MIN_PIXELS:
        return np.nan
    true = truth[pure].astype(np.float64)
    return float(np.cov(image[pure], true)[0, 1] / true.var(ddof=1))


def _gaussians(scene: Scene, cut: tuple[slice, ...], pure: np.ndarray, pixel_mm: float) -> np.ndarray:
    """What Gaussian filters of ``GAUSSIANS`` leave of LDCT's noise and of the texture, (GAUSSIANS, 2)."""
    power = noise_power.spectrum(noise_power.of_realisations(scene.low[:, *cut]), pixel_mm)
    spectrum = fft.fft2(scene.truth.astype(np.float64))
    return np.array([(noise_power.left_by_gaussian(power, sd * pixel_mm, pixel_mm), _texture_left(
        fft.ifft2(ndimage.fourier_gaussian(spectrum, sd)).real, scene.truth, pure)) for sd in GAUSSIANS])


def residuals(examples: Mapping[str, np.ndarray], row: Mapping[str, Any], cohort: Path | None) -> dict[str, np.ndarray]:
    """The example slice of 04 less the same slice without noise, HU, float32, by experiment, 'ndct' and 'ldct' first; where
    the scans are not simulated (``cohort`` None), less the NDCT, which is left out then.

    Parameters
    ----------
    examples : mapping, of :func:`lib.stages.evaluate.load_examples`
    row : mapping, which slice it is: patient, z_mm, kernel, thickness_mm
    cohort : Path, the folder of the simulation
    """
    if cohort is None:
        return {name: image - examples[NDCT] for name, image in examples.items() if name != NDCT}
    made = Acquisition.of(cohort, row["patient"])
    free = noise_free_slice(made, row["z_mm"], row["kernel"], row["thickness_mm"]).hu
    return {name: image - free for name, image in examples.items()}
