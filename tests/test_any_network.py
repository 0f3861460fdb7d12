"""Encoders that are no VGG of Keras's: torchvision's form, files that a user brings, and files that are refused."""

import json
import shutil
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import correlate

from lib.errors import WeightsError
from lib.networks import any_network, saved_graph
from lib.perceptual import LossConfiguration, encoders, torch_weights
from lib.perceptual.architectures import torchvision_resnet

RNG = np.random.default_rng(5)
BLOCKS, WIDTH = (1, 2), 2


def torch_state() -> dict[str, np.ndarray]:
    """A tiny ResNet's state as torchvision would save it: two stages of 1 and 2 bottlenecks, 2 channels."""
    state: dict[str, np.ndarray] = {}

    def convolution(name: str, out: int, into: int, size: int, norm: str) -> None:
        state[f"{name}.weight"] = RNG.normal(0, (into * size**2) ** -0.5, (out, into, size, size)).astype(np.float32)
        for part, low, high in (("weight", 0.5, 1.5), ("bias", -0.5, 0.5), ("running_mean", -0.5, 0.5),
                                ("running_var", 0.5, 2.0)):
            state[f"{norm}.{part}"] = RNG.uniform(low, high, out).astype(np.float32)
        state[f"{norm}.num_batches_tracked"] = np.array(7)

    convolution("conv1", WIDTH, 3, 7, "bn1")
    into = WIDTH
    for stage, count in enumerate(BLOCKS, start=1):
        inner = WIDTH * 2 ** (stage - 1)
        for block in range(count):
            name = f"layer{stage}.{block}"
            for number, (out, size) in enumerate(((inner, 1), (inner, 3), (4 * inner, 1)), start=1):
                convolution(f"{name}.conv{number}", out, (into, inner, inner)[number - 1], size, f"{name}.bn{number}")
            if block == 0:
                convolution(f"{name}.downsample.0", 4 * inner, into, 1, f"{name}.downsample.1")
            into = 4 * inner
    state["fc.weight"] = np.zeros((10, into), np.float32)
    return state


def by_hand(state: dict[str, np.ndarray], image: np.ndarray) -> list[np.ndarray]:
    """The outputs of the stages of torchvision's network, (channels, rows, columns), by SciPy's correlation."""
    def convolved(x: np.ndarray, name: str, norm: str, stride: int = 1) -> np.ndarray:
        kernel = state[f"{name}.weight"].astype(float)
        edge = kernel.shape[-1] // 2
        padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge)))
        y = np.stack([correlate(padded, each, "valid")[0] for each in kernel])[:, ::stride, ::stride]
        scale, shift, mean, variance = (state[f"{norm}.{part}"].astype(float)[:, None, None]
                                        for part in ("weight", "bias", "running_mean", "running_var"))
        return (y - mean) / np.sqrt(variance + 1e-5) * scale + shift

    x = np.maximum(convolved(image, "conv1", "bn1", 2), 0)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    x, found = windows[:, ::2, ::2].max((-2, -1)), []
    for stage, count in enumerate(BLOCKS, start=1):
        for block in range(count):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = np.maximum(convolved(x, f"{name}.conv1", f"{name}.bn1"), 0)
            y = np.maximum(convolved(y, f"{name}.conv2", f"{name}.bn2", stride), 0)
            y = convolved(y, f"{name}.conv3", f"{name}.bn3")
            short = convolved(x, f"{name}.downsample.0", f"{name}.downsample.1", stride) if block == 0 else x
            x = np.maximum(y + short, 0)
        found.append(x)
    return found


def safetensors(path: Path, state: dict[str, np.ndarray]) -> None:
    """As the format's own description says."""
    header, content = {"__metadata__": {"format": "pt"}}, b""
    for name, each in state.items():
        kind = {"float32": "F32", "int64": "I64"}[str(each.dtype)]
        header[name] = {"dtype": kind, "shape": list(each.shape), "data_offsets": [len(content), len(content) + each.nbytes]}
        content += each.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_a_torchvision_state_gives_the_networks_features(tmp_path, ending):
    state, path = torch_state(), tmp_path / f"state{ending}"
    np.savez(path, **state) if ending == ".npz" else safetensors(path, state)
    network = torchvision_resnet(BLOCKS, WIDTH)
    encoders.load_weights(network, path)
    loss = LossConfiguration("torchvision_resnet50", str(path), {"layer1": 0.5, "layer2": 0.5}, input_range=(0, 1))
    image = RNG.uniform(0, 1, (1, 29, 36, 1)).astype(np.float32)  # odd sides: torch's padding is symmetric
    found = encoders.encoder(loss, model=network)(image)
    for one, other in zip(found, by_hand(state, np.repeat(image[0].transpose(2, 0, 1), 3, axis=0)), strict=True):
        np.testing.assert_allclose(one[0], other.transpose(1, 2, 0), rtol=1e-3, atol=1e-4)


def test_a_torchvision_vgg_has_its_layers_by_number(tmp_path):
    """It counts poolings and ReLUs, too: 10 comes after 2."""
    image = x = keras.Input((None, None, 3))
    for number in range(3):
        x = keras.layers.Conv2D(2, 3, activation="relu", name=f"block{number + 1}_conv1")(x)
    chain, state = keras.Model(image, x), {"classifier.0.weight": np.zeros((3, 3))}
    for number, into in ((10, 2), (0, 3), (2, 2)):
        state |= {f"features.{number}.weight": RNG.normal(size=(2, into, 3, 3)).astype(np.float32),
                  f"features.{number}.bias": np.full(2, number, np.float32)}
    np.savez(tmp_path / "vgg.npz", **state)
    encoders.load_weights(chain, tmp_path / "vgg.npz")
    assert [float(layer.bias[0]) for layer in chain.layers[1:]] == [0, 2, 10]
    np.testing.assert_array_equal(chain.layers[2].get_weights()[0][2, 1, 0], state["features.2.weight"][:, 0, 2, 1])
    np.savez(tmp_path / "short.npz", **{name: each for name, each in state.items() if ".10." not in name})
    with pytest.raises(ValueError, match="does not hold torchvision's weights of .*block3_conv1"):
        encoders.load_weights(chain, tmp_path / "short.npz")
    np.savez(tmp_path / "deep.npz", **state, **{"features.12.weight": state["features.2.weight"]})
    with pytest.raises(ValueError, match=r"does not hold torchvision's weights of .*\(4 convolutions, not 3\)"):
        encoders.load_weights(chain, tmp_path / "deep.npz")
    with pytest.raises(ValueError, match="torchvision has no sacnn, pass a Keras weights file of it"):
        encoders.load_weights(encoders.network("sacnn"), tmp_path / "vgg.npz")


def test_resnet50_of_torchvision_is_complete():
    """25,557,032 parameters, less the classifier's 2,049,000; batch norms' moving values are no parameters in torch."""
    network = encoders.network("torchvision_resnet50")
    moving = sum(int(np.prod(each.shape)) for each in network.weights if "moving" in each.path)
    assert network.count_params() - moving == 25_557_032 - 2_049_000
    assert [network.get_layer(f"layer{n}").output.shape[-1] for n in (1, 2, 3, 4)] == [256, 512, 1024, 2048]


@pytest.mark.parametrize(("damage", "says"), [
    (lambda state: state.pop("layer1.0.conv2.weight"), "layer1_0_conv2: layer1.0.conv2.weight"),
    (lambda state: state.update({"conv1.weight": np.zeros((2, 3, 3, 3), np.float32)}), "conv1: "),
])  # fmt: skip
def test_a_state_of_another_network_is_refused(tmp_path, damage, says):
    state = torch_state()
    damage(state)
    np.savez(tmp_path / "a.npz", **state)
    with pytest.raises(ValueError, match=says) as error:
        encoders.load_weights(torchvision_resnet(BLOCKS, WIDTH), tmp_path / "a.npz")
    assert len(str(error.value).splitlines()) == 1


SHORT = b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, (3).to_bytes(8, "little") + b"{}x" + bytes(9),
                                     len(SHORT).to_bytes(8, "little") + SHORT])
def test_a_damaged_file_of_arrays_is_refused(tmp_path, content):
    for ending in torch_weights.ENDINGS:
        (tmp_path / f"a{ending}").write_bytes(content)
        with pytest.raises(ValueError, match=f"a{ending} is no {ending} file of arrays"):
            torch_weights.read(tmp_path / f"a{ending}")


def test_a_stream_that_was_damaged_is_refused(tmp_path):
    """In a compressed file; and a type that NumPy lacks."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=RNG.normal(size=500))
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz is no \.npz file of arrays"):
        torch_weights.read(path)
    header = json.dumps({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(2))
    with pytest.raises(ValueError, match="a is BF16, expected one of F64, F32, F16"):
        torch_weights.read(tmp_path / "a.safetensors")


def test_a_deeper_resnets_state_is_refused(tmp_path):
    """It has all that a shallower one has, of the same shapes."""
    state = torch_state()
    more = {name.replace("layer2.1", "layer2.2"): each for name, each in state.items() if "layer2.1" in name}
    np.savez(tmp_path / "deeper.npz", **state, **more)
    with pytest.raises(ValueError, match=r"does not hold torchvision's weights of .*\(it also has layer2\.2\.bn1\)"):
        encoders.load_weights(torchvision_resnet(BLOCKS, WIDTH), tmp_path / "deeper.npz")


def test_an_array_of_objects_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", **{"conv1.weight": np.array([print], dtype=object)})
    with pytest.raises(ValueError, match=r"a\.npz is no \.npz file of arrays"):
        torch_weights.read(tmp_path / "a.npz")


@pytest.fixture(scope="module")
def brought() -> keras.Model:
    """Of one channel, without a chain: what a user may bring."""
    keras.utils.set_random_seed(2)
    image = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(3, 3, padding="same", name="first")(image)
    y = keras.layers.ReLU(name="act")(x)
    return keras.Model(image, keras.layers.Add(name="sum")([x, y]))


def test_a_keras_model_that_a_user_brings(brought, tmp_path):
    brought.save(tmp_path / "mine.keras")
    loss = LossConfiguration("file", str(tmp_path / "mine.keras"), {"sum": 1.0, "act:before": 1.0}, input_range=(0, 2))
    image = RNG.uniform(0, 1, (2, 9, 7, 1)).astype(np.float32)
    both = encoders.encoder(loss)(image)
    np.testing.assert_allclose(both[0], brought(2 * image), rtol=1e-5)
    np.testing.assert_allclose(both[1] + np.maximum(both[1], 0), both[0], rtol=1e-5)


@pytest.mark.parametrize("fields", [{"dilation_rate": 2, "padding": "same"}, {"use_bias": False, "strides": 2},
                                    {"groups": 3, "filters": 6, "padding": "same"}])
def test_a_chain_that_a_user_brings_keeps_its_first_convolution(tmp_path, fields):
    """Of three equal channels one is left: dilated, without a bias; and what cannot be summed is not."""
    keras.utils.set_random_seed(3)
    chain = keras.Sequential([keras.Input((None, None, 3)),
                              keras.layers.Conv2D(**{"filters": 4, "kernel_size": 3, "activation": "relu"} | fields),
                              keras.layers.Conv2D(4, 3, groups=2, activation="relu", name="b")])
    chain.save(tmp_path / "mine.keras")
    loss = LossConfiguration("file", str(tmp_path / "mine.keras"), {"b": 1.0, "b:before": 1.0}, input_range=(-1, 1))
    image = RNG.uniform(0, 1, (2, 13, 11, 1)).astype(np.float32)
    after, before = encoders.encoder(loss)(image)
    expected = chain(np.repeat(2 * image - 1, 3, axis=-1))
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.maximum(before, 0), expected, rtol=1e-4, atol=1e-5)


def test_a_chain_may_have_layers_that_only_activate():
    chain = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(2, 3, name="a"), keras.layers.ReLU(name="b"),
                              keras.layers.Activation("tanh", name="c")])
    names = ("b", "b:before", "c:before", "c")
    image = RNG.uniform(0, 1, (1, 5, 6, 1)).astype(np.float32)
    b, before, again, c = encoders.encoder(LossConfiguration("vgg16", None, names, (0, 1)), model=chain)(image)
    np.testing.assert_allclose(before, chain.layers[0](np.repeat(image, 3, axis=-1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(b, np.maximum(before, 0))
    np.testing.assert_array_equal(again, b)
    np.testing.assert_allclose(c, np.tanh(b), rtol=1e-5)


def test_code_in_a_keras_file_is_refused(tmp_path):
    image = keras.Input((None, None, 3))
    keras.Model(image, keras.layers.Lambda(lambda x: 2 * x)(image)).save(tmp_path / "mine.keras")
    for name in ("mine.keras", "none.keras", "mine.h5"):
        with pytest.raises(ValueError, match="weights: .*(names Lambda, .*layers of Keras only|is no .keras file)") as error:
            encoders.network("file", tmp_path / name)
        assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("changed", [{"class_name": "TFSMLayer"}, {"module": "keras.utils", "class_name": "get_file"},
                                     {"module": "os", "class_name": "system"}, {"module": None, "class_name": "__lambda__"},
                                     {"module": "keras.layers", "class_name": "__lambda__"},
                                     {"module": "keras", "class_name": "saving.load_model"},
                                     {"module": "keras", "class_name": "function", "config": "saving.load_model"},
                                     {"module": [], "class_name": "Conv2D"},
                                     {"compile_config": {"loss": {"module": "os", "class_name": "system"}}}])
def test_a_keras_file_names_layers_of_keras_only(brought, tmp_path, monkeypatch, changed):
    """Whatever Keras's own safe mode would let through: it is not asked."""
    brought.save(tmp_path / "whole.keras")
    with zipfile.ZipFile(tmp_path / "whole.keras") as whole, zipfile.ZipFile(tmp_path / "mine.keras", "w") as mine:
        for name in whole.namelist():
            data = whole.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["layers"][1] |= changed
                data = json.dumps(config)
            mine.writestr(name, data)
    monkeypatch.setattr(keras.saving, "load_model", lambda *arguments, **named: pytest.fail("it was loaded"))
    with pytest.raises(ValueError, match=f"names {changed.get('class_name', 'system')}, expected layers of Keras only"):
        encoders.network("file", tmp_path / "mine.keras")


def test_a_keras_file_of_lists_in_lists_is_refused(tmp_path):
    """Deeper than Python goes."""
    with zipfile.ZipFile(tmp_path / "mine.keras", "w") as mine:
        mine.writestr("config.json", 200_000 * "[" + 200_000 * "]")
    with pytest.raises(ValueError, match="cannot be read without running code, or is damaged"):
        encoders.network("file", tmp_path / "mine.keras")


def test_losses_of_ones_own_do_not_count_in_a_keras_file(tmp_path):
    """Nor do operations on tensors, activations, and models in models."""
    image = keras.Input((None, None, 1))
    inner = keras.Sequential([keras.layers.Conv2D(2, 1, activation="gelu", kernel_regularizer="l2")])
    inner.compile(keras.optimizers.SGD(0.1), keras.losses.MeanSquaredError())  # that of a model inside is read
    x = inner(image)
    model = keras.Model(image, keras.ops.relu(x + 1.0) * x)
    own = type("Own", (keras.losses.MeanSquaredError,), {})
    model.compile("adam", keras.saving.register_keras_serializable("own")(own)())
    model.save(tmp_path / "mine.keras")
    assert encoders.network("file", tmp_path / "mine.keras").count_params() == 4


def test_a_network_of_another_kind_is_refused(tmp_path):
    vector = keras.Input((8,))
    keras.Model(vector, keras.layers.Dense(2)(vector)).save(tmp_path / "mine.keras")
    with pytest.raises(WeightsError, match=r"takes \[\(None, 8\)\], expected one image"):
        any_network.network("file", tmp_path / "mine.keras")


def test_a_saved_model_is_differentiable(brought, tmp_path):
    brought.export(tmp_path / "saved", verbose=False)
    network = any_network.network("file", tmp_path / "saved")
    (name,) = [each.name for each in network.layers[2:]]
    loss = LossConfiguration("file", str(tmp_path / "saved"), (name,), input_range=(0, 2))
    encoder = encoders.encoder(loss, model=network)
    image = tf.constant(RNG.uniform(0, 1, (2, 9, 7, 1)).astype(np.float32))
    gradients = []
    for function in (encoder, lambda x: brought(2 * x)):
        with tf.GradientTape() as tape:
            tape.watch(image)
            value = tf.reduce_sum(tf.square(function(image)))
        gradients.append(tape.gradient(value, image))
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-4)


def lookup(path: Path):
    return tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(
        str(path), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER), -1)


def dumped(path: Path, image) -> None:
    tf.raw_ops.DebugIdentityV3(input=image, debug_urls=[f"file://{path}.dump"])


@pytest.mark.parametrize(("act", "operation"), [
    (lambda path, image: tf.io.write_file(str(path), "x"), "WriteFile"),
    (lambda path, image: tf.raw_ops.SaveV2(prefix=str(path), tensor_names=["a"], shape_and_slices=[""], tensors=[image]),
     "SaveV2"),
    (lambda path, image: next(iter(tf.data.TextLineDataset(str(path)))), "TextLineDataset"),
    (dumped, "DebugIdentityV3"), (lambda path, image: tf.numpy_function(lambda: 1.0, [], tf.float32), "PyFunc"),
    (lambda path, image: tf.while_loop(lambda n: n < 1, lambda n: [n + tf.strings.length(tf.io.read_file(str(path)))], [0]),
     "ReadFile"),
])  # fmt: skip
def test_a_saved_model_that_runs_code_is_refused(tmp_path, act, operation):
    """Directly, and in what a loop or a dataset calls."""
    class Spy(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
        def __call__(self, image):
            act(tmp_path / "written", image)
            return {"y": image}

    spy = Spy()
    tf.saved_model.save(spy, str(tmp_path / "saved"), signatures=spy.__call__)
    with pytest.raises(WeightsError, match=f"may run code or touch files: .*{operation}"):
        any_network.network("file", tmp_path / "saved")
    assert [each.name for each in tmp_path.iterdir()] == ["saved"]


def test_a_table_that_is_read_while_a_saved_model_is_loaded_is_refused(brought, tmp_path):
    (tmp_path / "words").write_text("a", encoding="utf-8")
    module = tf.Module()
    module.table, module.network = lookup(tmp_path / "words"), brought
    module.call = tf.function(lambda image: {"y": image}, input_signature=[tf.TensorSpec((None, None, None, 3))])
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.call)
    with pytest.raises(WeightsError, match="InitializeTableFromTextFileV2"):
        any_network.network("file", tmp_path / "saved")


def test_what_is_no_saved_model_of_one_image_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="no SavedModel with a signature"):
        any_network.network("file", tmp_path / "empty")
    module = tf.Module()
    module.call = tf.function(lambda image: {"y": tf.reshape(image, (11, -1))},
                              input_signature=[tf.TensorSpec((None, None, None, 3))])
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.call)
    with pytest.raises(WeightsError, match="no SavedModel with a signature") as error:
        any_network.network("file", tmp_path / "saved")
    assert len(str(error.value).splitlines()) == 1


def test_every_operation_that_is_allowed_is_one_of_tensorflow():
    unknown = [name for name in saved_graph.ALLOWED | saved_graph.SAVING if not hasattr(tf.raw_ops, name)]
    assert unknown == []


def test_an_onnx_file_goes_through_the_command_that_converts_it(brought, tmp_path, monkeypatch):
    (tmp_path / "mine.onnx").write_bytes(b"a network")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(WeightsError, match="needs the command onnx2tf, which is not installed.*pip install onnx2tf"):
        any_network.network("file", tmp_path / "mine.onnx")
    brought.export(tmp_path / "saved", verbose=False)
    command = tmp_path / "bin" / "onnx2tf"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nimport shutil, sys\nassert sys.argv[1:3] == ['-osd', '-i']\n"
                       f"shutil.copytree({str(tmp_path / 'saved')!r}, sys.argv[5])\n", encoding="utf-8")
    command.chmod(0o755)
    for _ in range(2):  # the second time without the command
        network = any_network.network("file", tmp_path / "mine.onnx")
        assert encoders.image_channels(network) == 1
        command.write_text(f"#!{sys.executable}\nraise SystemExit('cannot')\n", encoding="utf-8")
    with monkeypatch.context() as patch:  # another process has made it while ours was at work
        folder = any_network.converted(tmp_path / "mine.onnx")
        shutil.copytree(folder, tmp_path / "saved", dirs_exist_ok=True)
        theirs = iter([False])
        patch.setattr(Path, "is_file", lambda path, real=Path.is_file: next(theirs, None) is None and real(path)
                      if path == folder / "saved_model.pb" else real(path))
        command.write_text(f"#!{sys.executable}\nimport shutil, sys\n"
                           f"shutil.copytree({str(tmp_path / 'saved')!r}, sys.argv[5])\n", encoding="utf-8")
        assert any_network.converted(tmp_path / "mine.onnx") == folder
        assert [each.name for each in folder.parent.iterdir()] == [folder.name]
        command.write_text(f"#!{sys.executable}\nraise SystemExit('cannot')\n", encoding="utf-8")
    (tmp_path / "mine.onnx").write_bytes(b"another")
    with pytest.raises(WeightsError, match=r"onnx2tf cannot convert it \(cannot\)"):
        any_network.network("file", tmp_path / "mine.onnx")
