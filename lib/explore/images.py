"""Slices of a store by patient and series, and what each network makes of them: denoised when looked at, and kept."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from lib.data.slices import SERIES
from lib.data.store.reading import open_volume
from lib.metrics.regions import soft_tissue
from lib.study.sections import UNet

KEPT_MIB: Final = 384  # of images; one of 512 x 512 takes 1 MiB


class Place(NamedTuple):
    """A slice: place of the series in the table, and index in it."""

    series: int
    index: int


class Kept:
    """The images looked at last, by key; at most ``mib``. Safe to use from several threads."""

    def __init__(self, mib: float = KEPT_MIB):
        self.most, self._size = mib * 2**20, 0
        self._images: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple) -> np.ndarray | None:
        """An image, or None where it is not kept."""
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
            return self._images.get(key)

    def put(self, key: tuple, image: np.ndarray) -> np.ndarray:
        """Keep an image, and let go of those that were not used for longest; returns it."""
        with self._lock:
            if key not in self._images:
                self._images[key] = image
                self._size += image.nbytes
            while self._size > self.most and len(self._images) > 1:
                self._size -= self._images.popitem(last=False)[1].nbytes
        return image


@dataclass(frozen=True)
class Networks:
    """The trained U-Nets of some experiments: one network, which takes the weights of each in turn, so that its graph is
    made once. TensorFlow comes with the first image."""

    settings: UNet
    files: Mapping[str, Path]  # weights by experiment

    @cached_property
    def _network(self):
        from lib.networks.unet import unet  # seconds: only when a network is needed

        return unet(**self.settings.architecture, seed=0)

    @cached_property
    def _weights(self) -> dict[str, list[np.ndarray]]:
        return {}

    def __call__(self, experiment: str, ldct_hu: np.ndarray) -> np.ndarray:
        """What an experiment's network makes of a slice, (rows, columns), HU, float32. Not for two threads at once. Raises
        WeightsError, TrainingError."""
        from lib.denoiser.inference import denoise
        from lib.networks.vgg import load_weights

        if experiment not in self._weights:
            load_weights(self._network, self.files[experiment])
            self._weights[experiment] = self._network.get_weights()
        self._network.set_weights(self._weights[experiment])
        return denoise(self._network, ldct_hu)


class Slices:
    """The pairs of a store.

    Parameters
    ----------
    store : Path, folder of the volumes
    pairs : DataFrame, of :func:`lib.data.store.reading.pairs`, with ``subset``
    denoise : function, (experiment, LDCT in HU) -> HU, (rows, columns)
    """

    def __init__(self, store: Path, pairs: pd.DataFrame, denoise: Callable[[str, np.ndarray], np.ndarray]):
        self.store, self._denoise, self._kept = store, denoise, Kept()
        groups = pairs.groupby([*SERIES, "subset", "ldct", "ndct"], sort=False)
        self.series = groups["index"].agg(list).reset_index()
        self.z_mm, self.pixel_mm = (list(groups[name].agg(list)) for name in ("z_mm", "pixel_mm"))

    def ldct(self, place: Place) -> np.ndarray:
        """HU, (rows, columns), float32."""
        return self._read("ldct", place)

    def ndct(self, place: Place) -> np.ndarray:
        """HU, (rows, columns), float32."""
        return self._read("ndct", place)

    def _read(self, dose: str, place: Place) -> np.ndarray:
        kept = self._kept.get((dose, place))
        if kept is not None:
            return kept
        row = self.series.iloc[place.series]
        return self._kept.put((dose, place), open_volume(self.store, row[dose]).slice(
            row["index"][place.index]).astype(np.float32))

    def tissue(self, place: Place) -> np.ndarray:
        """Mask of the soft tissue, (rows, columns)."""
        kept = self._kept.get(("tissue", place))
        return self._kept.put(("tissue", place), soft_tissue(self.ndct(place))) if kept is None else kept

    def known(self, experiment: str, place: Place) -> np.ndarray | None:
        """The denoised slice, if it has been computed."""
        return self._kept.get((experiment, place))

    def denoised(self, experiment: str, place: Place) -> np.ndarray:
        """The denoised slice, HU, (rows, columns), computed where it is not known. Not for two threads at once."""
        known = self.known(experiment, place)
        return self._kept.put((experiment, place), self._denoise(experiment, self.ldct(place))) if known is None else known
