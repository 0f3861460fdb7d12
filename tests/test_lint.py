"""lint: for each check a loss that must be named and one that must not, with numbers that algebra gives."""

import json
import runpy
import sys

import keras
import numpy as np
import pytest
from keras import ops

from lib.perceptual import LossConfiguration, PerceptualLoss, TotalLoss, exchange, lint
from lib.perceptual.__main__ import main
from lib.perceptual.checks import cost, dead_output, grey, growth, misplaced_lambda
from lib.perceptual.linter import last_activation
from lib.perceptual.losses import distance
from lib.perceptual.pairs import batches
from lib.perceptual.ranges import known_range, response

RNG = np.random.default_rng(11)
X, Y = (RNG.uniform(0, 1, (10, 6, 8, 1)).astype(np.float32) for _ in range(2))
MSE = keras.losses.MeanSquaredError()


def mae(y, f):
    return distance(f, y, "l1")


def scaled(activation: str | None = None, bias: float = 0.1) -> keras.Model:
    """f(x) = activation(0.7 x + bias)."""
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation=activation)(image))
    model.set_weights([np.full((1, 1, 1, 1), 0.7, np.float32), np.full(1, bias, np.float32)])
    return model


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return scaled()


def found(report) -> dict:
    return {each.code: each for each in report}


def features(threshold: float, scale: float = 1.0, mean: float = 0.0):
    """A network of one ReLU with a bias, whose images lose a mean: relu(scale (x - mean) - threshold)."""
    def loss(y, f):
        return distance(*(ops.relu(scale * (each - mean) - threshold) for each in (f, y)))
    return loss


def test_sound_losses_pass_and_the_numbers_are_those_of_algebra(model):
    report = lint(MSE, mae, model, [(X[:4], Y[:4]), (X[4:7], Y[4:7]), (X[7:], Y[7:])], lambda_=0.3)
    assert set(found(report)) <= {"cost"}, str(report)  # what a step takes is for the machine to say
    difference = 0.7 * X.astype(float) + 0.1 - Y
    a, b = (difference**2).mean((1, 2, 3)), np.abs(difference).mean((1, 2, 3))
    slopes = 2 * np.linalg.norm(difference.reshape(10, -1), axis=1).sum() / 48, 10 * 48**0.5 / 48
    expected = {"loss_a": a.mean(), "loss_b": b.mean(), "lambda_at_psi_0.95": 19 * a.sum() / b.sum(),
                "lambda_at_gamma_0.5": slopes[0] / slopes[1], "psi": 0.3 * b.sum() / (a.sum() + 0.3 * b.sum()),
                "gamma": 0.3 * slopes[1] / (slopes[0] + 0.3 * slopes[1])}  # fmt: skip
    assert {name: report.measured[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert report.measured["seconds_with_both"] > 0 and report.unchecked == []


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, place):
        return X[:3], Y[:3]


def test_only_ten_pairs_are_looked_at(model):
    four = [(X[:3], Y[:3])] * 3 + [(X[:1], Y[:1])]
    measured = [lint(MSE, mae, model, each).measured["loss_b"] for each in (Endless(), four)]
    assert measured[0] == pytest.approx(measured[1])
    assert len([*batches(iter([(X[:3], Y[:3])] * 12), most=10)]) == 10
    with pytest.raises(ValueError, match="pairs: this PyDataset has no end, give it a length"):
        exchange(model, MSE, mae, Endless())


@pytest.mark.parametrize(("loss", "powers"), [
    (mae, (0, 0)), (lambda y, f: ops.sum(ops.square(y - f), axis=(1, 2, 3)), (1, 0)),
    (lambda y, f: ops.sqrt(ops.sum(ops.square(y - f), axis=(1, 2, 3))), (0.5, 0)),
    (keras.losses.MeanAbsoluteError(reduction="sum"), (1, 1)), (lambda y, f: ops.sum(mae(y, f)), (0, 1)),
])  # fmt: skip
def test_what_a_loss_sums_over(loss, powers):
    assert growth(loss, ops.convert_to_tensor(Y), ops.convert_to_tensor(X)) == pytest.approx(powers, abs=1e-5)


def test_what_a_loss_sums_over_is_seen_where_it_is_not_0(model):
    """Air in the corner: a network that leaves it as it is has no loss there."""
    y, f = (np.zeros((2, 130, 101, 1), np.float32) for _ in range(2))
    f[:, 120:, 99:] = 0.5
    assert growth(MSE, ops.convert_to_tensor(y), ops.convert_to_tensor(f)) == pytest.approx((0, 0), abs=1e-5)
    f[:] = 0
    assert np.isnan(growth(MSE, ops.convert_to_tensor(y), ops.convert_to_tensor(f))).all()


def test_a_loss_that_sees_no_part_of_an_image_is_not_checked():
    """Of the whole of a large image only: there is a loss, and none in a part of it."""
    x = RNG.uniform(0, 1, (1, 100, 100, 1)).astype(np.float32)
    def whole(y, f):
        return distance(f, y) * float(y.shape[1] == 100)
    report = lint(MSE, whole, scaled(), [(x, x[:, ::-1])])
    assert "reduction: loss_b is 0 in a part of an image, not checked" in report.unchecked


def test_a_sum_beside_a_mean_is_named_and_lambda_is_that_of_training(model):
    total = keras.losses.MeanSquaredError(reduction="sum")  # over 10 images of 6 x 8 pixels
    report = lint(total, mae, model, [(X, Y)])
    numbers = [each.number for each in report if each.code == "reduction"]
    assert numbers == pytest.approx([-1, -1], abs=1e-5)
    plain = lint(MSE, mae, model, [(X, Y)]).measured
    assert report.measured["lambda_at_psi_0.95"] == pytest.approx(480 * plain["lambda_at_psi_0.95"], rel=1e-4)
    assert "reduction" not in found(lint(total, keras.losses.MeanAbsoluteError(reduction="sum"), model, [(X, Y)]))


def test_the_range_by_what_scaling_does():
    """relu(x - 0.25) of images in [0, 1] has another power than of images in [0, 255]; without a bias there is one power."""
    y = ops.convert_to_tensor(Y)
    ((finding,), unchecked) = response("loss_b", features(0.25), y)
    assert finding.code == "range" and finding.number > 0.3 and not unchecked
    assert response("loss_b", features(0.3, mean=0.45), y)[0][0].number > 0.3
    sharp = [features(0.5, 255.0, mean) for mean in (0.0, 0.449, 0.5)]
    for sound in (*sharp, features(0.0), MSE, mae, keras.losses.Huber(0.1)):
        assert response("loss_b", sound, y) == ([], [])
    def normalised(y, f):
        return distance(f, y) / ops.mean(ops.square(y) + ops.square(f), axis=(1, 2, 3))
    assert "its scale cannot be seen" in response("loss_b", normalised, y)[1][0]


@pytest.mark.parametrize(("fields", "factor", "severity", "number"), [
    ({}, 1, "note", 0.5 / 0.226), ({"preprocessing": "caffe"}, 1, None, 0), ({"input_range": (0, 1)}, 1, "error", 1 / 255),
    ({"input_range": (-50, 50), "preprocessing": "caffe"}, 1, "warning", 100 / 255),
    ({"input_range": (0, 1), "weights": "own.h5"}, 1, "warning", 1 / 255),
    ({"input_range": (0, 1), "preprocessing": "torch"}, 1, "error", 1 / 0.226 / 255), ({"weights": None}, 1, None, 0),
    ({"preprocessing": {"mean": 0, "sd": 255}}, 1, "error", 1 / 255),
    ({"preprocessing": {"mean": 20, "sd": 2}}, 1, None, 0),
    ({"encoder": "torchvision_resnet50", "weights": "r.npz", "input_range": (0, 1), "preprocessing": "torch"}, 1, None, 0),
    ({"encoder": "torchvision_resnet50", "weights": "r.npz", "input_range": (0, 255)}, 1, "warning", 255 * 0.226),
    ({"weights": "v.safetensors", "input_range": (0, 4096), "preprocessing": {"mean": 481.454, "sd": 502.185}}, 1, None, 0),
    ({"encoder": "sacnn", "weights": "s.h5", "input_range": (0, 1)}, 1, None, 0),
    ({"weights": None}, 255, "error", 255), ({"weights": None}, 1 / 255, "error", 1 / 255),
    ({"encoder": "file", "weights": "own.keras"}, 1, None, 0),
])  # fmt: skip
def test_the_range_by_the_configuration(fields, factor, severity, number):
    loss = LossConfiguration(**{"encoder": "vgg16", "layers": ("block1_conv2",)} | fields)
    result, unchecked = known_range("loss_b", loss, np.linspace(0, factor, 10_001))
    assert [each.severity for each in result] == ([severity] if severity else [])
    assert all(each.number == pytest.approx(number, rel=0.02) for each in result)
    unknown = factor == 1 and (loss.weights is None or loss.encoder in ("file", "sacnn"))
    assert unchecked == (["range: what the encoder of loss_b was trained on is not known"] if unknown else [])


@pytest.mark.parametrize(("low", "high", "wrong"), [(-1, 1, True), (-1, 0.3, True), (0, 1.8, True), (-0.1, 1.2, False)])
def test_images_that_do_not_lie_in_0_to_1_are_named(low, high, wrong):
    """Scaled to [-1, 1], or HU / 1000: no wider than 2."""
    images = np.linspace(low, high, 101)
    result, _ = known_range("loss_b", LossConfiguration("vgg16", layers=("block1_conv2",), preprocessing="caffe"), images)
    assert [each.severity for each in result] == (["error"] if wrong else [])


def test_a_pixel_term_has_no_range():
    """SSIM is bounded, L1 is not: their sum grows as a network does that sees too small images."""
    x, y = (RNG.uniform(0, 1, (1, 16, 16, 1)).astype(np.float32) for _ in range(2))
    loss = TotalLoss(LossConfiguration(None, pixel="l1", pixel_weight=0.11, pixel_more={"ssim": 0.89}, lambda_=0))
    ((finding,), _) = response("loss_a", loss, ops.convert_to_tensor(y))
    assert "or a part of it is bounded, as SSIM is" in finding.remedy
    report = lint(loss, mae, scaled(), [(x, y)])
    assert "range" not in found(report) and not any(line.startswith("range") for line in report.unchecked)


def test_a_dead_output_is_named():
    """tanh, relu and sigmoid at their bounds where the target is not; an output that is rightly at its bound is none."""
    target = np.array([0.0, 0.0, 1.0, 0.5])
    for activation, output, share in (
        ("sigmoid", [1.0, 0.9995, 1.0, 0.0], 0.75), ("sigmoid", [0.0005, 0.0, 1.0, 0.5], 0), ("tanh", [-1, 0, 1, -1], 0.5),
        ("relu", [0, 0, 0, 0.4], 0.25), ("linear", [9, 9, 9, 9], 0),
    ):  # fmt: skip
        findings, unchecked = dead_output(activation, np.array(output, float), target)
        assert [each.number for each in findings] == ([share] if share else []) and unchecked == []
    assert "cannot" not in dead_output(None, target, target)[1][0] and dead_output(None, target, target)[0] == []
    dead = found(lint(MSE, mae, scaled("sigmoid", -12.0), [(X, Y)]))
    assert dead["output"].severity == "error" and dead["output"].number == pytest.approx((Y > 0.01).mean(), abs=0.01)
    assert "output" not in found(lint(MSE, mae, scaled("sigmoid"), [(X, Y)]))


def test_the_last_activation_is_seen_through_models():
    image = keras.Input((None, None, 1))
    assert last_activation(keras.Sequential([image, scaled("sigmoid")])) == "sigmoid"
    assert last_activation(keras.Model(image, keras.layers.ReLU()(scaled()(image)))) == "relu"
    assert last_activation(keras.Model(image, image + scaled("tanh")(image))) == "linear"
    cast = keras.layers.Activation("linear", dtype="float32")  # Keras's advice for half precision
    assert last_activation(keras.Model(image, cast(scaled("sigmoid")(image)))) == "sigmoid"
    assert last_activation(keras.Model(image, keras.layers.Cropping2D(1)(image))) is None


@pytest.mark.parametrize(("loss", "says", "severity"), [
    (lambda y, f: mae(y, y + 1) + 0 * mae(y, f), "loss_b is 1, its gradient at the output 0 for 100%", "error"),
    (lambda y, f: mae(y, ops.stop_gradient(f)), "its gradient at the output 0 for 100%", "error"),
    (lambda y, f: ops.round(100 * mae(y, f)), "its gradient at the output 0 for 100%", "error"),
    (lambda y, f: 0 * mae(y, f), "loss_b is 0 for all 10 pairs", "error"),
    (lambda y, f: mae(y, f) + ops.sqrt(ops.relu(mae(y, f) - 9)), "no number for 100% of the pairs", "error"),
    (lambda y, f: ops.where(mae(y, f) > np.median(np.abs(0.7 * X + 0.1 - Y).mean((1, 2, 3))), mae(y, f), 1.0),
     "0 for 50% of the pairs", "warning"),
])  # fmt: skip
def test_a_gradient_that_is_lost_is_named(model, loss, says, severity):
    report = lint(MSE, loss, model, [(X, Y)], 1.0)
    finding = found(report)["gradient"]
    assert says in finding.what and finding.severity == severity and "loss_a" not in finding.what
    assert "lambda" not in found(report) and any(line.startswith("lambda") for line in report.unchecked)


def test_a_network_that_passes_no_gradient_is_named():
    class Rounded(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = keras.layers.Conv2D(1, 1)

        def call(self, image):
            return ops.stop_gradient(self.inner(image))

    findings = [each for each in lint(MSE, mae, Rounded(), [(X, Y)]) if each.code == "gradient"]
    assert [each.what.split("arrives")[1] for each in findings] == [" at the output and at no weight"] * 2


def test_a_gradient_that_is_no_number_at_the_weights_is_named():
    """sqrt(relu(x)) of an inner value of 0 has a value, and no derivative."""
    image = keras.Input((None, None, 1))
    inner = keras.layers.Conv2D(1, 1, kernel_initializer="zeros")(image)
    network = keras.Model(image, keras.layers.Conv2D(1, 1)(ops.sqrt(ops.relu(inner))))
    findings = [each for each in lint(MSE, mae, network, [(X, Y)]) if each.code == "gradient"]
    assert [each.what for each in findings] == [
        f"the gradient of {name} at the weights is no number for 100% of the batches" for name in ("loss_a", "loss_b")]
    with pytest.raises(ValueError, match="loss_a: its gradient at the weights is no number for batch 0"):
        exchange(network, MSE, mae, [(X, Y)])


def test_a_dead_last_layer_is_named():
    with pytest.raises(ValueError, match="loss_a: its gradient is 0 at all weights"):
        exchange(scaled("relu", -12.0), MSE, mae, [(X, Y)])


def test_grey_images_in_a_network_of_colours():
    colours, one = RNG.random((2, 4, 4, 3)), LossConfiguration("vgg16", None, ("block1_conv2",))
    grey_ = np.repeat(colours[..., :1], 3, axis=-1)
    padded = grey_ * [1.0, 0.0, 0.0]
    cases = ((one, grey_[..., :1], "note", 1), (None, grey_, "note", 0), (None, padded, "warning", 2),
             (None, colours, None, 0), (None, grey_[..., :1], None, 0),
             (LossConfiguration("sacnn", None, ("block1_conv2",)), grey_[..., :1], None, 0))  # fmt: skip
    for loss, images, severity, number in cases:
        assert [(each.severity, each.number) for each in grey(loss, images)] == ([(severity, number)] if severity else [])


@pytest.mark.parametrize(("lambda_", "outside", "severity"), [
    (0.0, None, None), (1e-3, None, None), (1e-2, None, None), (0.9e0, None, None), (20.0, 2.301, "error"),
    (2.0, 1.301, "warning"), (2e-5, 1.699, "warning"), (0.9e-6, 3.046, "error"),
])  # fmt: skip
def test_a_lambda_orders_of_magnitude_off(lambda_, outside, severity):
    result = misplaced_lambda(lambda_, {"Psi = .95": 0.1, "equal gradients": 1e-3})
    assert [each.severity for each in result] == ([severity] if severity else [])
    assert all(each.number == pytest.approx(outside, abs=1e-3) for each in result)


def test_the_cost_of_a_step():
    assert cost(0.1, 0.29) == [] and cost(0.1, 0.4)[0].number == pytest.approx(4)

    def slow(y, f):
        wide = ops.conv(ops.conv(f - y, ops.ones((9, 9, 1, 64)), padding="same"), ops.ones((9, 9, 64, 64)), padding="same")
        return ops.mean(ops.square(wide), axis=(1, 2, 3))

    pair = [tuple(np.tile(each, (1, 8, 8, 1)) for each in (X[:1], Y[:1]))]
    assert found(lint(MSE, slow, scaled(), pair))["cost"].number > 10


@pytest.mark.parametrize(("loss", "says"), [
    (lambda y, f: mae(y, f) * np.nan, "loss_b: nan for pair 0, it is no number"),
    (lambda y, f: mae(y, f) - 9, "loss_b: -8.*a share needs losses of 0 or more"),
    (lambda y, f: ops.matmul(f, ops.ones((2, 2))), "loss_b: it cannot be computed for images of 6 x 8 x 1"),
])  # fmt: skip
def test_losses_that_cannot_be_measured_are_named(model, loss, says):
    with pytest.raises(ValueError, match=says) as error:
        lint(MSE, loss, model, [(X, Y)])
    assert len(str(error.value).splitlines()) == 1


def test_networks_and_pairs_that_cannot_be_measured_are_named(model):
    frozen = keras.models.clone_model(model)
    frozen.trainable = False
    for network, batch, says in (
        (frozen, (X, Y), "model: it has no trainable weights, there is nothing to train"),
        (model, (X, Y[:, :4]), r"pairs: the network's output is \(6, 8, 1\), the target \(4, 8, 1\)"),
        (model, (X[..., 0], Y[..., 0]), r"pairs: images of shape \(10, 6, 8\), expected \(batch, rows, columns, channels\)"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            lint(MSE, mae, network, [batch])
    with pytest.raises(ValueError, match="lambda_: -1 is no weight"):
        lint(MSE, mae, model, [(X, Y)], lambda_=-1)
    with pytest.raises(ValueError, match="pairs: there are none to measure"):
        lint(MSE, mae, model, [])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lint")
    scaled("sigmoid").save(folder / "model.keras")
    np.savez(folder / "pairs.npz", input=X, target=Y)
    np.savez(folder / "objects.npz", input=np.array([{}], object), target=Y)
    np.savez(folder / "flat.npz", input=X[..., 0], target=Y)
    np.savez(folder / "one.npz", input=X)
    (folder / "broken.npz").write_bytes((folder / "pairs.npz").read_bytes()[:-400])
    (folder / "broken.keras").write_bytes(b"PK" + bytes(40))
    image = keras.Input((None, None, 1))
    keras.Model(image, keras.layers.Lambda(lambda x: x)(image)).save(folder / "code.keras")
    losses = {"loss": {"layers": ["block1_conv2"]}, "unknown": {"layer": "x"}, "deep": {"layers": ["block5_conv3"]},
              "none": {"encoder": None, "lambda": 0}, "number": {"layers": 5}}  # fmt: skip
    for name, fields in losses.items():
        (folder / f"{name}.json").write_text(json.dumps({"encoder": "vgg16", "weights": None} | fields))
    (folder / "list.json").write_text("[1]")
    return folder


def test_the_command_line(files, capsys, monkeypatch):
    command = [str(files / "loss.json"), "--model", str(files / "model.keras"), "--pairs", str(files / "pairs.npz")]
    assert main(["lint", *command, "--lambda", "1e9", "--ignore", "cost", "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert [each["code"] for each in printed["findings"]] == ["grey", "lambda"] and printed["measured"]["psi"] > 0.99
    monkeypatch.setattr(sys, "argv", ["perceptual_influence", "lint", *command, "--ignore", "grey", "--ignore", "cost"])
    monkeypatch.delitem(sys.modules, "lib.perceptual.__main__")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("lib.perceptual", run_name="__main__")
    assert ended.value.code == 0 and capsys.readouterr().out.splitlines()[0] == "nothing found"


@pytest.mark.parametrize(("loss", "model_", "pairs", "says"), [
    ("loss", "model.keras", "objects.npz", "objects.npz: Object arrays cannot be loaded"),
    ("loss", "model.keras", "broken.npz", "broken.npz: File is not a zip file"),
    ("loss", "model.keras", "flat.npz", "flat.npz: input is 10x6x8 of float32, expected numbers (pairs, rows"),
    ("loss", "model.keras", "one.npz", "one.npz: it has no array target, only input"),
    ("loss", "broken.keras", "pairs.npz", "broken.keras: it is no model that Keras loads in safe mode"),
    ("loss", "code.keras", "pairs.npz", "code.keras: it names Lambda, __lambda__, expected layers of Keras only"),
    ("loss", "model.h5", "pairs.npz", "model.h5: expected a .keras file"),
    ("deep", "model.keras", "pairs.npz", "loss_b: its encoder leaves nothing of images of 6 x 8, pass 16 x 16 or more"),
    ("unknown", "model.keras", "pairs.npz", "unknown.json: layer: no field of a loss"),
    ("number", "model.keras", "pairs.npz", "number.json: layers: 5, expected names"),
    ("none", "model.keras", "pairs.npz", "none.json: encoder: null, there is no perceptual term"),
    ("list", "model.keras", "pairs.npz", "list.json: a list, expected an object"),
    ("absent", "model.keras", "pairs.npz", "absent.json: it cannot be read (No such file"),
])  # fmt: skip
def test_bad_files_are_one_line_and_status_2(files, capsys, loss, model_, pairs, says):
    arguments = [files / f"{loss}.json", "--model", files / model_, "--pairs", files / pairs]
    assert main(["lint", *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and says in said.err and len(said.err.splitlines()) == 1 and said.err.startswith("error: ")


def test_the_command_lines_loss_a_is_a_loss_without_a_network(files, monkeypatch):
    seen = []
    monkeypatch.setattr("lib.perceptual.linter.lint", lambda *arguments: seen.append(arguments[0]) or 1 / 0)
    arguments = [files / "loss.json", "--model", files / "model.keras", "--pairs", files / "pairs.npz"]
    assert main(["lint", *map(str, arguments)]) == 2
    assert isinstance(seen[0], TotalLoss) and seen[0].perceptual is None
    assert seen[0].configuration.pixel_part == LossConfiguration("vgg16", layers=("x",)).pixel_part


def test_an_encoder_that_cannot_be_made_is_named(files, capsys, monkeypatch):
    arguments = [files / "loss.json", "--model", files / "model.keras", "--pairs", files / "pairs.npz"]
    with monkeypatch.context() as broken:
        broken.setattr("lib.perceptual.losses.build_encoder", lambda loss: 1 / 0)
        assert main(["lint", *map(str, arguments)]) == 2
    assert "loss.json: the encoder cannot be made (ZeroDivisionError: division by zero)" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "keras", None)
    assert main(["lint", *map(str, arguments)]) == 2
    assert "keras" in (said := capsys.readouterr().err) and "pip install 'perceptual-influence[tensorflow]'" in said


def test_whatever_goes_wrong_is_no_finding(files, capsys, monkeypatch):
    monkeypatch.setattr("lib.perceptual.linter.lint", lambda *arguments: 1 / 0)
    arguments = [files / "loss.json", "--model", files / "model.keras", "--pairs", files / "pairs.npz"]
    assert main(["lint", *map(str, arguments)]) == 2
    assert capsys.readouterr().err == "error: ZeroDivisionError: division by zero\n"


def test_a_total_loss_brings_its_lambda(model):
    encoder = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(2, 3, padding="same", activation="relu")])
    total = TotalLoss(LossConfiguration("vgg16", None, ("conv",)), 7.0, encoder)
    report = lint(MSE, total, model, [(X, Y)])
    assert report.measured["lambda"] == 7 and found(report)["grey"].number == 1
    plain = lint(MSE, PerceptualLoss(total.configuration, encoder), model, [(X, Y)])
    assert report.measured["loss_b"] == pytest.approx(plain.measured["loss_b"]) and "lambda" not in plain.measured
    with pytest.raises(ValueError, match="loss_b: it has no perceptual term"):
        lint(MSE, TotalLoss(LossConfiguration(None, lambda_=0)), model, [(X, Y)])
