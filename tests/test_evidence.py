"""The evidence of a denoised scan: what it says of denoisers whose answers algebra knows."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import ndimage, stats

from lib.deploy import homogeneous, inserted, lesions, sheet
from lib.deploy.estimates import CELL_MM, Estimate, by_cell, cells, jackknife, mean
from lib.deploy.evidence import MOST_SLICES, Subject, measure
from lib.deploy.homogeneous import TISSUES
from lib.deploy.sentences import cautions, percent, sentences, shown
from lib.metrics.noise_power import without_trend
from lib.simulation.exposure import expose
from lib.simulation.noise import I0_DEFAULT
from lib.simulation.scanner import RollOff, Scanner

PIXEL, SIZE = 2.0, 112  # mm and pixels: lesions of 10 mm are 5 pixels wide
ABOUT = {"model": "E1, seed 5", "sha256": "ab" * 32, "trained_on": "smoke profile | SIMULATED cohort", "software": "this"}


def phantom(rows: int = SIZE, columns: int = SIZE) -> np.ndarray:
    """A body of 50 HU in air with fat around it, a lung and a bone, (rows, columns)."""
    down, across = np.mgrid[:rows, :columns] - np.array([(rows - 1) / 2, (columns - 1) / 2])[:, None, None]
    radius = np.hypot(down * 1.15, across)
    hu = np.where(radius < 0.48 * columns, -100.0, -1000.0)
    hu[radius < 0.37 * columns] = 50.0
    hu[np.hypot(down - 0.1 * rows, across - 0.18 * columns) < 0.12 * columns] = -800.0
    hu[np.hypot(down - 0.1 * rows, across + 0.2 * columns) < 0.1 * columns] = 600.0
    return hu


def scan(slices: int = 4, sd: float = 12.0, **size: int) -> np.ndarray:
    """Slices of the phantom with white noise of their own."""
    hu = phantom(**size)
    return (hu + sd * np.random.default_rng(3).standard_normal((slices, *hu.shape))).astype(np.float32)


def subject(denoise, volume: np.ndarray | None = None, spacing=(3.0, PIXEL, PIXEL)) -> Subject:
    return Subject(scan() if volume is None else volume, spacing, denoise)


def blur(volume: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(volume.astype(np.float64), (0, 1, 1)).astype(np.float32)


def kernel(side: int = 15) -> np.ndarray:
    """Of that filter, (side, side)."""
    impulse = np.zeros((side, side))
    impulse[side // 2, side // 2] = 1
    return ndimage.gaussian_filter(impulse, 1)


def near(estimate: Estimate, value: float, errors: float = 4.0, floor: float = 1e-5) -> bool:
    return abs(estimate.value - value) <= errors * estimate.standard_error + floor


def test_the_jackknife_of_a_mean_is_its_t_interval_and_of_a_ratio_weighs_by_its_sums():
    values = np.array([1.0, 4.0, 2.0, 8.0, 3.0, 3.5])
    found = mean(values)
    assert found[:3] == pytest.approx((values.mean(), *stats.t.interval(0.95, 5, values.mean(), stats.sem(values))))
    sums = np.array([[2.0, 1.0], [6.0, 3.0], [4.0, 2.0], [20.0, 10.0], [10.0, 5.0]])
    assert jackknife(sums, lambda total: total[0] / total[1])[:4] == pytest.approx((2, 2, 2, 0))
    few = mean(values[:4], "squares")
    assert not few.known and few.reason == "4 squares, at least 5 are needed" and few.as_dict()["not_measurable"]


def test_cells_reach_through_slices_and_cover_the_image_once():
    cell = cells((50, 31), (PIXEL, 4.0))
    counts = np.bincount(cell.ravel())
    assert counts.sum() == 50 * 31 and counts.max() == (CELL_MM / PIXEL) * (CELL_MM / 4)
    values = np.arange(3 * 50 * 31, dtype=float).reshape(3, 50, 31)
    mask = values % 3 == 0
    sums = by_cell(cell, mask, values)
    assert len(sums) == len(counts) and sums.sum(axis=0) == pytest.approx((mask.sum(), values[mask].sum()))


@pytest.fixture(scope="module")
def identity():
    return measure(subject(lambda volume: volume))


def test_a_denoiser_that_does_nothing_removes_nothing(identity):
    soft = identity.tissues["soft tissue"]
    assert soft.sd_share[:3] == pytest.approx((1, 1, 1)) and soft.bias[:3] == pytest.approx((0, 0, 0))
    assert identity.spectrum.after == pytest.approx(identity.spectrum.before)
    assert [left.dose for left in identity.noise_left] == [0.5, 0.25]
    for left in identity.noise_left:
        for part in (left.body, left.soft_tissue):
            assert part.share.value == pytest.approx(1, abs=1e-4) and part.rms_share.value == pytest.approx(1, abs=1e-4)
            assert part.rmse_after.value == pytest.approx(part.rmse_before.value, rel=1e-4)
            assert part.rmse_before.value == pytest.approx(part.sd_hu, rel=1e-4) and part.rmse_clean.value == 0
        assert [each.value for each in left.under_disc.values()] == pytest.approx([1, 1], abs=1e-4)
    assert len(identity.lesions) == len(lesions.CONTRASTS_HU) * len(lesions.DIAMETERS_MM)
    for lesion in identity.lesions:
        assert lesion.recovery.value == pytest.approx(1, abs=1e-6) and lesion.recovery.places >= 5
        assert lesion.outside_rms_hu.value == lesion.outside_largest_hu == 0
        against = lesions.against_noise(lesion.recovery, identity.noise_left[0].under_disc[lesion.diameter_mm])
        assert against.value == pytest.approx(1, abs=1e-3)
    assert cautions(identity) == []
    derived = replace(identity, image_type="DERIVED/SECONDARY/AXIAL/SIMULATED")
    assert len(found := cautions(derived)) == 1 and "no acquisition" in found[0] and derived.image_type in found[0]
    assert cautions(replace(identity, image_type="ORIGINAL/PRIMARY/AXIAL")) == []


def test_noise_and_its_spectrum_are_those_of_the_scan(identity):
    """White noise of 12 HU: choosing squares does not make it smaller; its power is variance times pixel area."""
    soft = identity.tissues["soft tissue"]
    assert near(soft.sd_before, 12.0) and 0 < soft.sd_before.standard_error < 1
    assert near(soft.sd_before_adjacent, 12.0)
    assert identity.spectrum.before[1:] == pytest.approx(12.0**2 * PIXEL**2, rel=0.25)


def test_the_kinds_of_tissue_are_found_without_their_edges():
    labels, hu = homogeneous.tissues(scan()), phantom()
    for name, (low, high) in TISSUES.items():
        mask = homogeneous.is_tissue(labels, name)
        if name in ("air", "lung", "soft tissue", "bone"):
            assert mask.any(axis=(1, 2)).all(), name
        assert ((hu >= low) & (hu <= high))[mask.any(axis=0)].all(), name
    assert not (labels[:, phantom() == 50.0] == 1).any()


@pytest.mark.parametrize("shift", [-7.0, 20.0])
def test_a_denoiser_that_shifts_has_that_bias_and_leaves_the_rest(shift):
    found = measure(subject(lambda volume: volume + np.float32(shift)))
    known = [each.bias for each in found.tissues.values() if each.bias.known]
    assert len(known) >= 3 and [each.value for each in known] == pytest.approx([shift] * len(known), abs=1e-3)
    assert found.tissues["soft tissue"].sd_share.value == pytest.approx(1, abs=1e-4)
    assert found.noise_left[0].body.share.value == pytest.approx(1, abs=1e-3)
    assert {round(each.recovery.value, 3) for each in found.lesions} == {1.0}
    assert bool(cautions(found)) == (abs(shift) > 7)


def test_a_blur_leaves_what_algebra_says():
    found, weights = measure(subject(blur)), kernel()
    side, half = 8, len(weights) // 2
    correlation = ndimage.correlate(np.pad(weights, half), weights, mode="constant")  # of blurred white noise, by offset
    middle = len(correlation) // 2
    at = np.indices((side, side)).reshape(2, -1)
    apart = at[:, :, None] - at[:, None, :]
    inside = (np.abs(apart) <= middle).all(axis=0)
    covariance = np.where(inside, correlation[tuple(np.clip(apart + middle, 0, 2 * middle))], 0)
    rest = without_trend(np.eye(side * side).reshape(-1, side, side)).reshape(side * side, -1)  # the projection
    expected = np.sqrt(np.trace(rest @ covariance) / (side * side - homogeneous.FREEDOM))
    soft = found.tissues["soft tissue"]
    assert near(soft.sd_share, expected) and soft.sd_share.standard_error < 0.03
    assert found.spectrum.mean_after.high < found.spectrum.mean_before.low
    for left in found.noise_left:  # inserted noise is not white: a blur leaves less in any form than as it went in
        assert left.soft_tissue.share.value < 0.9 and left.soft_tissue.share.value < left.under_disc[10.0].value
    roll_off = inserted.kernel_of(scan(), PIXEL).roll_off
    for diameter in lesions.DIAMETERS_MM:
        of_disc = lesions.shown(64, PIXEL, (32.3, 31.6), diameter, roll_off)
        disc = lesions.disc(64, PIXEL, (32.3, 31.6), diameter)
        recovered = (disc * ndimage.gaussian_filter(of_disc, 1)).sum() / (disc * of_disc).sum()
        values = [each.recovery.value for each in found.lesions if each.diameter_mm == diameter]
        assert values == pytest.approx([recovered] * len(values), abs=1e-4) and 0.3 < recovered < 0.95


def test_white_noise_under_a_blur_is_left_by_its_middle_weight_and_its_norm():
    clean, rng, weights = np.repeat(phantom()[None], 3, axis=0).astype(np.float32), np.random.default_rng(4), kernel()
    noise = (10 * rng.standard_normal(clean.shape)).astype(np.float32)
    calm = ndimage.binary_erosion(clean == 50, iterations=3, structure=np.ones((1, 3, 3)))
    found = inserted.left(blur, clean, blur(clean), noise, 0.5, calm, (PIXEL, PIXEL), (10.0,))
    middle, norm = weights[7, 7], np.sqrt((weights**2).sum())
    for part in (found.body, found.soft_tissue):
        assert near(part.share, middle) and near(part.rms_share, norm) and part.share.standard_error < 0.05 * middle
        assert near(Estimate(part.sd_hu, standard_error=0.1), 10.0)
    flat = found.soft_tissue
    assert flat.rmse_after.value < flat.rmse_before.value
    half = inserted.left(lambda volume: volume / 2, clean, clean / 2, noise, 0.5, calm, (PIXEL, PIXEL), (10.0,))
    assert half.body.share.value == pytest.approx(0.5, abs=1e-4) == half.under_disc[10.0].value


def test_a_denoiser_that_answers_with_a_constant_brings_nothing_back():
    found = measure(subject(lambda volume: np.full_like(volume, 40.0)))
    assert {each.recovery.value for each in found.lesions} == {0.0}
    assert found.noise_left[0].body.rms_share.value == 0 and found.tissues["soft tissue"].sd_after.value < 1e-9
    assert found.spectrum.mean_after.reason == "no noise is left"
    assert found.tissues["soft tissue"].bias.value == pytest.approx(-10, abs=0.5)
    assert any("less than half of the contrast came back" in each for each in cautions(found))
    assert any("0.0 % [0.0, 0.0] of its SD is left" in each for each in sentences(found)["Inserted noise"])


def test_what_leaks_far_from_a_lesion_is_seen():
    """A denoiser that adds a hundredth of the sum of all pixels' changes everywhere."""
    def leaking(volume: np.ndarray) -> np.ndarray:
        return volume + np.float32(0.01) * volume.mean(axis=(1, 2), keepdims=True)

    volume = scan()
    where = lesions.places(volume, homogeneous.is_tissue(homogeneous.tissues(volume), "soft tissue"), PIXEL, 10.0)
    roll_off = RollOff(3.4, 2.2)
    found = lesions.recover(leaking, volume, where, PIXEL, roll_off, 10.0)[0]
    expected = 0.01 * 40 * lesions.shown(96, PIXEL, (48, 48), 10.0, roll_off).mean()
    assert found.outside_rms_hu.value == pytest.approx(expected, rel=0.02)
    assert found.outside_largest_hu == pytest.approx(expected, rel=0.05)


def test_a_small_scan_without_noise_is_said_to_be_one_once():
    """Four places in the body, and nothing to lose."""
    small = np.full((2, 24, 24), 40, np.float32)
    found = sentences(measure(subject(lambda volume: volume, small)))
    assert found["Inserted noise"] == ["What is left of inserted noise is not measurable: 4 places in the body, at least 5 "
                                       "are needed."]
    assert mean(np.ones(1), "places of lung").reason == "1 place of lung, at least 5 are needed"
    assert found["Noise"][1] == "The texture of the noise is not measurable: the scan has no noise."


def test_the_interval_of_what_cannot_be_negative_is_not():
    """One place of many in which the output changes far from the lesion."""
    calls = []

    def once(volume):
        calls.append(changed := volume.copy())
        changed[0, 20, 20] += 900 * (len(calls) > 1)
        return changed

    volume = scan()
    where = lesions.places(volume, homogeneous.is_tissue(homogeneous.tissues(volume), "soft tissue"), PIXEL, 10.0)
    found = lesions.recover(once, volume, where, PIXEL, RollOff(3.4, 2.2), 10.0)[0].outside_rms_hu
    assert found.low == 0 < found.value < found.high and found.value < 2 * found.standard_error
    assert mean(np.array([-1.0, 0, 0, 0, 1])).low < 0  # of a bias it may be


def test_places_are_soft_tissue_apart_from_each_other_and_from_the_border():
    volume = scan(2)
    soft = homogeneous.is_tissue(homogeneous.tissues(volume), "soft tissue")
    where = lesions.places(volume, soft, PIXEL, 10.0)
    assert 5 <= len(where) <= lesions.MOST_PLACES
    apart = np.hypot(*(where[:, None, 1:] - where[None, :, 1:]).transpose(2, 0, 1))[~np.eye(len(where), dtype=bool)]
    assert apart.min() >= 2 * 10.0 / PIXEL
    for index, row, column in where:
        assert soft[index, row - 4 : row + 5, column].all() and soft[index, row, column - 4 : column + 5].all()
        assert lesions.BORDER < row < SIZE - lesions.BORDER


def test_noise_of_half_the_dose_is_as_much_again_as_the_scan_has():
    scanner, ideal = Scanner(size=96, fov_mm=96 * 3.0), phantom(96, 96)[None].repeat(3, axis=0)
    lines = scanner.project(ideal)
    volume = scanner.reconstruct(expose(scanner, lines, np.random.default_rng(6), I0_DEFAULT)[0], "D45")
    own = (volume - scanner.reconstruct(lines, "D45"))[:, 40:56, 40:56].std()
    noise = inserted.noise_of_doses(volume, scanner.pixel_mm, inserted.kernel_of(volume, scanner.pixel_mm),
                                    np.random.default_rng(7))
    half, quarter = (noise.added[dose][:, 40:56, 40:56].std() for dose in (0.5, 0.25))
    assert noise.photons.source.startswith("noise of") and half == pytest.approx(own, rel=0.3)
    assert quarter / half == pytest.approx(np.sqrt(3), rel=0.1)


@pytest.mark.parametrize(("volume", "spacing", "reasons"), [
    (np.full((1, 24, 40), -1000.0), (1.0, 2.0, 2.0), ["no homogeneous soft tissue", "no homogeneous square"]),
    (scan(1, rows=40, columns=56), (1.0, 3.0, 3.0), ["no homogeneous", "needed"]),
    (scan(2), (3.0, 2.0, 1.5), ["pixels are not square (2 x 1.5 mm)"]),
    (scan(2), (float("nan"), float("nan"), float("nan")), ["the size of its pixels is not stated"]),
    (scan(1, rows=9, columns=13), (3.0, 2.0, 2.0), ["slices of 9 x 13 pixels, at least 16 are needed"]),
], ids=["air", "small", "oblong", "without spacing", "tiny"])
def test_what_a_scan_does_not_show_is_said(volume, spacing, reasons, tmp_path):
    found = measure(subject(lambda each: each, volume, spacing))
    text = json.dumps(found.as_dict(), allow_nan=False) + str(sentences(found))
    assert [each for each in reasons if each not in text] == [] and "nan" not in text.lower()
    sheet.write(tmp_path, [found], ABOUT)
    assert "ot measurable" in (tmp_path / "evidence.html").read_text(encoding="utf-8")


def test_the_same_scan_has_the_same_evidence_and_of_many_slices_those_with_tissue_count(identity):
    again = measure(subject(lambda volume: volume))
    assert again.as_dict() == identity.as_dict()
    air = np.full((5, SIZE, SIZE), -1000.0, np.float32)
    seen = []
    found = measure(subject(lambda each: seen.append(len(each)) or each, np.concatenate([air, scan(MOST_SLICES), air[:2]])))
    assert found.shape[0] == seen[0] == MOST_SLICES and found.seed == measure(
        subject(lambda each: each, scan(MOST_SLICES))).seed != identity.seed


def test_a_denoiser_that_changes_the_shape_or_answers_nan_is_refused():
    for broken in (lambda volume: volume[:, :-1], lambda volume: volume * np.float32("nan")):
        with pytest.raises(ValueError, match="the denoiser made"):
            measure(subject(broken, scan(1)))
    with pytest.raises(ValueError, match="expected \\(slices, rows, columns\\)"):
        measure(subject(blur, phantom()))


def test_numbers_in_words():
    estimate = Estimate(-0.31, -0.4, -0.22, 0.03, 9)
    assert percent(estimate) == "−31 % [−40, −22]" and shown(estimate) == "−0.3 HU [−0.4, −0.2]"
    assert percent(Estimate(0.8, 0.795, 0.805)) == "80.0 % [79.5, 80.5]" and shown(Estimate(0.0, -1, 2), sign=True) == \
        "+0.0 HU [−1.0, +2.0]"
    assert shown(Estimate(reason="too small")) == "not measurable"


class Page(HTMLParser):
    """Images without a text, links out of the page, and text."""

    def __init__(self, text: str):
        super().__init__()
        self.images, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.images += [given] if tag == "img" else []
        self.links += [given[name] for name in ("src", "srcset", "href") if name in given]

    def handle_data(self, data):
        self.text += data


def test_the_sheet_is_one_page_of_all_series_and_needs_nothing_else(identity, tmp_path):
    other = replace(identity, label="<script>alert(1)</script> & co", reasons=("its kernel is X",), share_outside=0.02)
    paths = sheet.write(tmp_path / "new", [identity, other], ABOUT | {"note": "a > b"})
    assert [path.name for path in paths] == ["evidence.html", "evidence.json"]
    text = paths[0].read_text(encoding="utf-8")
    page = Page(text)
    assert "<script" not in text and "<script>alert(1)</script> & co" in page.text and "a > b" in page.text
    assert "RESEARCH USE ONLY" in page.text and ABOUT["sha256"] in page.text and "simulated" in page.text
    assert "Outside the trained range, or not stated:" in page.text and "2 % of its voxels" in page.text
    assert len(page.images) == 10 and all(len(image["alt"]) > 30 for image in page.images)
    assert {each.split(",")[0] for each in page.links} == {"evidence.json", "#series-1", "#series-2",
                                                           "data:image/png;base64", "data:image/svg+xml;base64"}
    known = json.loads(paths[1].read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert known["use"] == "RESEARCH USE ONLY" and known["about"]["sha256"] == ABOUT["sha256"]
    one, two = known["series"]
    assert two["outside_trained_range"] == ["its kernel is X"] and two["share_of_voxels_outside_trained_hu"] == 0.02
    assert one["tissues"]["soft tissue"]["sd_share"]["value"] == pytest.approx(1)
    for some in one["sentences"].values():
        assert all(sentence in page.text for sentence in some)
    before = text
    sheet.write(tmp_path / "new", [identity, other], ABOUT | {"note": "a > b"})
    assert paths[0].read_text(encoding="utf-8") == before


def test_a_sheet_without_the_network_or_a_series_is_refused(identity, tmp_path):
    with pytest.raises(ValueError, match="expected sha256, software"):
        sheet.write(tmp_path, [identity], {"model": "E1", "trained_on": "x"})
    with pytest.raises(ValueError, match="no series"):
        sheet.write(tmp_path, [], ABOUT)
    assert not list(tmp_path.iterdir())
