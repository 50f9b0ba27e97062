"""Weights come back as they were saved, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from promptseg.errors import OutputError, WeightsError
from promptseg.weights.header import digest_of
from promptseg.weights.load import load_builtin
from promptseg.weights.save import save
from small_network import SMALL, small_network


@pytest.fixture
def path(tmp_path) -> Path:
    """A saved small network."""
    file = tmp_path / "small.safetensors"
    save(small_network(), file)
    return file


def rewrite(path: Path, change: Callable[[dict, dict], object]) -> None:
    """Change the metadata and tensors of a weights file and write it back as it then is."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    change(metadata, tensors)
    save_file(tensors, path, metadata=metadata)


def test_what_is_saved_is_what_is_loaded(path):
    """Sizes return exactly, weights to fp16, and both answer alike ever after."""
    network, original = load_builtin(path), small_network()
    assert network.config == SMALL
    assert not network.training
    for name, tensor in original.state_dict().items():
        expected = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(network.state_dict()[name], expected), name
    pixels = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        for mine, theirs in zip(
            network.encode(pixels).grids, load_builtin(path).encode(pixels).grids, strict=True
        ):
            assert torch.equal(mine, theirs)


def test_the_digest_names_the_weights(path, tmp_path):
    """It is in the network's spec, the same for equal weights and another for others."""
    digest = load_builtin(path).spec.digest
    assert len(digest) == 64
    assert save(small_network(), tmp_path / "again.safetensors") == digest
    assert save(small_network(seed=5), tmp_path / "other.safetensors") != digest
    assert save(load_builtin(path), tmp_path / "loaded.safetensors") == digest


def test_the_header_says_what_the_file_is(path):
    """Format, family, sizes and digest can be read without this package."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        dtypes = {file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert metadata["format"] == "promptseg-1"
    assert metadata["family"] == "tiny"
    assert json.loads(metadata["config"])["image_side"] == 64
    assert metadata["digest"] == load_builtin(path).spec.digest
    assert dtypes <= {torch.float16, torch.int64}


def test_saving_over_a_file_is_whole_or_not_at_all(path, monkeypatch):
    """When the disk fails, the old file is as it was and nothing else lies about."""
    before = path.read_bytes()

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OutputError, match="no space left"):
        save(small_network(seed=5), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_weights_that_fp16_cannot_hold_are_not_saved(tmp_path, value):
    """The tensor is named, and no file is written."""
    network = small_network()
    with torch.no_grad():
        network.decoder.masks.bias[0] = value
    with pytest.raises(WeightsError, match=r"`decoder\.masks\.bias`"):
        save(network, tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_loading_takes_no_random_numbers(path):
    """A caller's seed is as it was."""
    before = torch.get_rng_state()
    load_builtin(path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_a_truncated_file_is_refused(path, share):
    """Cut anywhere, it is called damaged."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsError, match="damaged") as caught:
        load_builtin(path)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"not weights", "safetensors"),
        (b"\xff" * 100, "safetensors"),
        (b"PK\x03\x04" + b"\0" * 99, "PyTorch"),
    ],
)
def test_another_kind_of_file_is_refused(tmp_path, content, kind):
    """Text, noise and archives are called what they are not."""
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=f"is not a {kind} file"):
        load_builtin(file)


def test_a_header_that_begins_as_a_pickle_does_is_none(path):
    """Of some lengths the first byte is a pickle's."""
    for extra in range(0, 512, 8):
        rewrite(path, lambda metadata, _, extra=extra: metadata.update(note="x" * extra))
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert load_builtin(path).config == SMALL


def test_one_flipped_bit_is_noticed(path):
    """The last byte is a weight's; the digest does not fit any more."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="their digest differs"):
        load_builtin(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda meta, _: meta.update(format="promptseg-9"), "its format is `promptseg-9`"),
        (lambda meta, _: meta.update(format="gguf"), "none of the models known here"),
        (lambda meta, _: meta.update(family="sam9"), "its family is `sam9`"),
        (lambda meta, _: meta.update(digest="0" * 64), "their digest differs"),
        (lambda meta, _: meta.update(config="{"), "sizes in its header"),
        (lambda meta, _: meta.update(config="[1]"), "sizes in its header"),
        (lambda meta, _: meta.update(config=edited(meta, image_side=65)), "sizes in its header"),
        (lambda meta, _: meta.update(config=edited(meta, heads=0)), "sizes in its header"),
        (lambda meta, _: meta.update(config=edited(meta, image_side="x")), "sizes in its header"),
        (lambda meta, _: meta.update(config=edited(meta, widths=[1])), "sizes in its header"),
        (lambda meta, _: meta.update(config=edited(meta, colour=1)), "sizes in its header"),
        (lambda meta, _: meta.update(config=edited(meta, embedding=4000)), "not \\("),
        (lambda _, tensors: tensors.pop("decoder.masks.bias"), "missing, first: `decoder.masks.b"),
        (lambda _, tensors: tensors.update(x=torch.zeros(1)), "unknown, first: `x`"),
        (
            lambda _, tensors: tensors.update({"decoder.masks.bias": torch.zeros(5)}),
            r"`decoder.masks.bias` is \(5,\), not \(3,\)",
        ),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(path, change, message):
    """What does not fit is named, with the file, and nothing huge is allocated to find out."""
    rewrite(path, change)
    with pytest.raises(WeightsError, match=message) as caught:
        load_builtin(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def edited(metadata: dict[str, str], **values: object) -> str:
    """The configuration in a header, with some sizes changed."""
    return json.dumps({**json.loads(metadata["config"]), **values})


def test_weights_of_a_stranger_are_refused(tmp_path):
    """A safetensors file without our header is not ours."""
    file = tmp_path / "x.safetensors"
    save_file({"weight": torch.zeros(2)}, file)
    with pytest.raises(WeightsError, match="its first tensor is `weight`"):
        load_builtin(file)


def test_the_digest_tells_names_shapes_and_bytes_apart():
    """Each of them changes it; the order of the tensors does not."""
    first, second = torch.zeros(2, 3), torch.ones(5)
    digest = digest_of({"a": first, "b": second})
    assert digest == digest_of({"b": second, "a": first})
    others = [
        {"a": first, "c": second},
        {"a": first.reshape(3, 2), "b": second},
        {"a": first, "b": second * 2},
        {"a": first.int(), "b": second},
    ]
    assert len({digest, *map(digest_of, others)}) == 5


def test_weights_that_are_no_numbers_are_refused(path):
    """Not even with a digest that fits."""

    def spoil(metadata: dict, tensors: dict) -> None:
        tensors["decoder.masks.bias"][0] = float("nan")
        metadata["digest"] = digest_of(tensors)

    rewrite(path, spoil)
    with pytest.raises(WeightsError, match=r"`decoder\.masks\.bias` holds NaN or infinity"):
        load_builtin(path)


@pytest.mark.parametrize("name", ["image_side", "widths", "depths", "sweeps", "candidates"])
def test_huge_sizes_in_a_header_are_refused_at_once(path, name):
    """No memory and no time is spent on them."""

    def enlarge(metadata: dict, _: dict) -> None:
        config = json.loads(metadata["config"])
        value = config[name]
        config[name] = [32 * 10**8] * len(value) if isinstance(value, list) else 32 * 10**8
        metadata["config"] = json.dumps(config)

    rewrite(path, enlarge)
    with pytest.raises(WeightsError, match="make no network"):
        load_builtin(path)
