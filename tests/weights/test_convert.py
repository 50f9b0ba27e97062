"""Weights of SAM 2 go from layout to layout and back without a change."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from promptseg.errors import ConfigError, OutputError, WeightsError
from promptseg.nn.sam2.model import Sam2Network
from promptseg.weights.convert import convert
from promptseg.weights.load import load_any
from small_sam2 import FITTING, PADDED, small_sam2
from stored_sam2 import write_meta


def change_header(path: Path, edit: Callable[[dict], object]) -> None:
    """Change the sizes in a file's header, and nothing else."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    config = json.loads(metadata["config"])
    edit(config)
    save_file(tensors, path, metadata={**metadata, "config": json.dumps(config)})


FILES = {"promptseg": "x.safetensors", "transformers": "x.safetensors", "meta": "x.pt"}


@pytest.mark.parametrize("layout", FILES)
def test_what_is_written_loads_again(tmp_path, layout, known_sizes):
    """Every tensor, the sizes, and the digest that was given back."""
    network = small_sam2()
    digest = convert(network, tmp_path / FILES[layout], layout)
    back, found = load_any(tmp_path / FILES[layout])
    assert (found.layout, found.config) == (layout, FITTING)
    assert back.spec.digest == digest
    for name, tensor in network.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name


def test_our_layout_knows_any_size(tmp_path):
    """Sizes and digest are in its header, to be read without this package."""
    digest = convert(small_sam2(PADDED), tmp_path / "x.safetensors", "promptseg")
    assert load_any(tmp_path / "x.safetensors").found.config == PADDED
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["digest"] == digest
    assert metadata["family"] == "sam2"
    assert json.loads(metadata["config"])["memory"]["version"] == "2"


def test_our_layout_keeps_a_network_for_images_only(tmp_path):
    """Its header says that there is no memory half."""
    config = replace(FITTING, memory=None)
    convert(small_sam2(config), tmp_path / "x.safetensors", "promptseg")
    assert load_any(tmp_path / "x.safetensors").found.config == config


def test_our_layout_notices_a_flipped_bit(tmp_path):
    """As it does of the built-in model."""
    path = tmp_path / "x.safetensors"
    convert(small_sam2(), path, "promptseg")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="digest differs"):
        load_any(path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda config: config["trunk"].update(depths=[10**9, 1, 1, 1]),
        lambda config: config["trunk"].update(heads=0),
        lambda config: config["trunk"].update(width="6"),
        lambda config: config["trunk"].pop("windows"),
        lambda config: config["trunk"].update(windows=[8, 4, 2, 0]),
        lambda config: config["trunk"].update(global_blocks=[7]),
        lambda config: config["trunk"].update(global_blocks=["4"]),
        lambda config: config.update(image_side=2**30),
        lambda config: config.update(trunk=7),
        lambda config: config["memory"].update(version="3"),
        lambda config: config["memory"].update(layers=10**9),
    ],
)
def test_sizes_of_a_damaged_header_are_refused_at_once(tmp_path, edit):
    """No memory and no time is spent on them."""
    path = tmp_path / "x.safetensors"
    convert(small_sam2(), path, "promptseg")
    change_header(path, edit)
    with pytest.raises(WeightsError, match="make no network"):
        load_any(path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda config: config["trunk"].update(global_blocks=[3]),
        lambda config: config["trunk"].update(windows=[8, 4, 2, 2]),
        lambda config: config["trunk"].update(heads=2),
        lambda config: config.update(image_side=128),
        lambda config: config.update(heads=4),
    ],
)
def test_sizes_that_tensors_do_not_tell_are_proved(tmp_path, edit):
    """Others would make a network that answers otherwise; the header's digest is over them too."""
    path = tmp_path / "x.safetensors"
    convert(small_sam2(), path, "promptseg")
    change_header(path, edit)
    with pytest.raises(WeightsError, match=r"tensors or sizes .* their digest differs"):
        load_any(path)


def test_a_network_of_other_sizes_has_another_digest(tmp_path):
    """Features are kept by it, and must not be taken for those of the other network."""
    network = small_sam2()
    other = Sam2Network(replace(FITTING, image_side=128))
    other.load_state_dict(network.state_dict())
    digests = [
        convert(each, tmp_path / f"{i}.safetensors", "promptseg")
        for i, each in enumerate((network, other))
    ]
    loaded = [load_any(tmp_path / f"{i}.safetensors").network for i in range(2)]
    assert [each.spec.digest for each in loaded] == digests
    assert digests[0] != digests[1]


def test_metas_layout_is_read_as_meta_reads_it(tmp_path):
    """Tensors under `model`, each in a storage of its own size."""
    convert(small_sam2(), tmp_path / "x.pt", "meta")
    content = torch.load(tmp_path / "x.pt", weights_only=True)
    assert set(content) == {"model"}
    assert "sam_mask_decoder.iou_token.weight" in content["model"]
    for name, tensor in content["model"].items():
        assert tensor.untyped_storage().nbytes() == 4 * tensor.numel(), name


def test_transformers_layout_is_read_by_transformers(tmp_path):
    """Its own loader finds each tensor that it has a place for, and no other."""
    pytest.importorskip("transformers")
    from reference_sam2 import hollow_reference

    convert(small_sam2(), tmp_path / "model.safetensors", "transformers")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
        assert file.metadata()["format"] == "pt"
    assert names == set(hollow_reference(FITTING).state_dict())


def test_a_loaded_file_can_be_written_over(tmp_path, known_sizes):
    """Its tensors lie in the file that is replaced."""
    path = write_meta(tmp_path / "x.pt")
    network = load_any(path).network
    before = network.spec.digest
    convert(network, path, "meta")
    assert load_any(path).network.spec.digest == before


@pytest.mark.parametrize(
    ("layout", "name"), [("meta", "x.safetensors"), ("transformers", "x.pt"), ("promptseg", "x")]
)
def test_the_ending_says_the_layout(tmp_path, layout, name):
    """Others go by it, so a wrong one is refused before anything is written."""
    with pytest.raises(ConfigError, match=f"layout `{layout}` ends in"):
        convert(small_sam2(), tmp_path / name, layout)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", FILES)
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, layout):
    """The file appears whole or not at all."""

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OutputError, match="no space left"):
        convert(small_sam2(), tmp_path / FILES[layout], layout)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    """torch's own error over it is not; nothing is left behind."""

    def full(*_, **__):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904 - as torch does

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="no space left on device"):
        convert(small_sam2(), tmp_path / "x.pt", "meta")
    assert list(tmp_path.iterdir()) == []
