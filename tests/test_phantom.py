"""The phantom: deterministic, continuous in z, with labels that mean what they say."""

import numpy as np
import pytest

from lib.errors import CohortError
from lib.simulation.abdomen import Abdomen
from lib.simulation.anatomy import ORGANS
from lib.simulation.cohort import patient_names, simulate
from lib.simulation.phantom import Z_RANGE_MM, draw
from lib.simulation.shapes import Canvas, Tubes, ellipsoid, grow_tree, random_field


@pytest.fixture(scope="module")
def patient() -> Abdomen:
    return Abdomen.random(3)


@pytest.fixture(scope="module")
def drawn(patient: Abdomen) -> tuple[np.ndarray, np.ndarray]:
    return draw(patient, np.linspace(-240, -5, 9), size=192)


def test_shapes_and_types_at_an_odd_size(patient):
    hu, labels = draw(patient, np.array([-61.5, -150.0, -20.0]), size=97, fov_mm=333.0)
    assert hu.shape == labels.shape == (3, 97, 97)
    assert (hu.dtype, labels.dtype) == (np.float32, np.uint8)
    assert np.isfinite(hu).all() and labels.max() < len(ORGANS)


def test_a_slice_depends_on_seed_and_z_only(patient):
    stack, labels = draw(patient, np.array([-90.0, -33.3, -34.1]), size=96)
    single, label_single = draw(Abdomen.random(3), np.array([-33.3]), size=96)
    np.testing.assert_array_equal(stack[1], single[0])
    np.testing.assert_array_equal(labels[1], label_single[0])


def test_patients_differ(patient):
    z = np.array([-70.0])
    other = draw(Abdomen.random(4), z, size=64)[0]
    assert np.abs(other - draw(patient, z, size=64)[0]).mean() > 20


def test_global_random_state_is_untouched(patient):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw(Abdomen.random(8), np.array([-100.0]), size=48)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_neighbouring_slices_are_alike_and_distant_ones_are_not(patient):
    hu, _ = draw(patient, np.array([-80.0, -80.1, -80.8, -110.0]), size=192)
    inside = hu[0] > -200
    change = [np.abs(np.clip(h, -300, 300) - np.clip(hu[0], -300, 300))[inside].mean() for h in hu[1:]]
    assert change[0] < 2 and change[0] < change[1] / 3 and change[1] < 10 and change[2] > 2 * change[1]


@pytest.mark.parametrize(
    ("organ", "low", "high"),
    [("air", -1001, -999), ("lung", -950, -700), ("fat", -130, -75), ("muscle", 20, 85), ("bone", 120, 700),
     ("liver", 80, 135), ("spleen", 90, 145), ("kidney", 130, 220), ("aorta", 115, 190), ("gas", -1000, -850)],
)  # fmt: skip
def test_labels_have_their_attenuation(drawn, organ, low, high):
    hu, labels = drawn
    values = hu[labels == ORGANS.index(organ)]
    assert len(values) > 50
    assert low <= np.median(values) <= high


def test_every_organ_occurs_and_none_is_named_twice():
    assert len(set(ORGANS)) == len(ORGANS) and ORGANS[0] == "air"
    seen: set[int] = set()
    for seed in (1, 2):
        seen |= set(np.unique(draw(Abdomen.random(seed), np.linspace(*Z_RANGE_MM, 14), size=128)[1]).tolist())
    assert [name for k, name in enumerate(ORGANS) if k not in seen] == []


def test_anatomy_is_in_its_place(drawn):
    _, labels = drawn
    row, column = {}, {}
    for organ in ("liver", "spleen", "bone", "stomach"):
        _, r, c = np.nonzero(labels == ORGANS.index(organ))
        row[organ], column[organ] = r.mean() - 95.5, c.mean() - 95.5
    assert column["liver"] < 0 < column["spleen"]  # the patient's right is on the left of the image
    assert row["stomach"] < row["bone"]
    top = {o: np.flatnonzero((labels == ORGANS.index(o)).any(axis=(1, 2))) for o in ("liver", "kidney")}
    assert top["liver"].mean() > top["kidney"].mean()  # z rises towards the head


@pytest.mark.parametrize("z", [Z_RANGE_MM[0] - 1, Z_RANGE_MM[1] + 0.5])
def test_z_out_of_range_is_refused(patient, z):
    with pytest.raises(ValueError, match="expected values within"):
        draw(patient, np.array([-10.0, z]), size=32)


def test_a_cohort_beyond_the_phantom_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(CohortError, match="400 slices of a patient reach beyond the phantom"):
        simulate(tmp_path / "out", patients=2, slices=400, size=32, seed=5)
    assert not (tmp_path / "out").exists() and patient_names(2) == ["SIM01", "SIM02"]


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="negative"):
        Abdomen.random(-1)


def test_sphere_distance_is_exact():
    x = np.linspace(-30, 30, 13)[None, :]
    y = np.linspace(-20, 20, 7)[:, None]
    expected = np.sqrt((x - 2) ** 2 + (y + 3) ** 2 + 16.0) - 11.0
    np.testing.assert_allclose(ellipsoid(x, y, 5.0, (2, -3, 1), (11, 11, 11), 37.0), expected, atol=1e-3)


def test_field_is_standardised_and_continuous():
    def field(z):
        return random_field((1, 2), 3.0, 4.0, 150, 350.0, z)

    values = np.array([field(z) for z in np.linspace(0, 400, 40)])
    assert abs(values.mean()) < 0.05 and abs(values.std() - 1) < 0.05
    assert np.abs(field(7.999) - field(8.001)).max() < 0.01


def test_tube_section_has_the_right_area_and_edge():
    flat = np.zeros((301, 301), np.float32)
    canvas = Canvas(301, 150.5, flat, flat)
    tube = Tubes.along([(3.0, -4.0, -50.0), (3.0, -4.0, 50.0)], 10.0)
    tube.paint(canvas, 7.0, 0.0, 5)
    area = (canvas.hu + 1000).sum() / 1000 * 0.25
    assert area == pytest.approx(np.pi * 100, rel=0.01)
    assert 0 < np.mean((canvas.hu > -999) & (canvas.hu < -1)) < 0.01  # antialiased
    assert canvas.label.max() == 5 and canvas.label[0, 0] == 0


def test_touching_tubes_know_their_neighbour():
    flat = np.zeros((101, 101), np.float32)
    canvas = Canvas(101, 101.0, flat, flat)
    pair = Tubes.join([Tubes.along([(x, 0, -9.0), (x, 0, 9.0)], 10.0) for x in (-9, 9)])
    first, second, group, axis_y = pair.nearest(canvas, 0.0)
    np.testing.assert_allclose(first[50, 50], second[50, 50], atol=1e-4)
    assert (group[50, 41], group[50, 59]) == (0, 1)
    assert first[50, 41] == pytest.approx(-10) and second[50, 41] == pytest.approx(8) and axis_y[50, 41] == 0


def test_tree_gets_thinner_and_is_decided_by_the_generator():
    tree, again = (grow_tree(np.random.default_rng(5), (0, 0, 0), (1, 0, 0), 30, 5, 4) for _ in range(2))
    np.testing.assert_array_equal(tree.end, again.end)
    assert tree.radius.max() == 5 and tree.radius.min() < 3 and (tree.radius[:, 0] >= tree.radius[:, 1]).all()
