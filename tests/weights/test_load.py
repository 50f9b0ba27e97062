"""SAM 2 loads from the files that people have, or is refused in a sentence."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.torch_version import TorchVersion

import promptseg as ps
from promptseg.errors import WeightsError
from promptseg.nn.sam2.model import Sam2Network
from promptseg.weights.load import load_any, load_builtin
from small_sam2 import FITTING, PADDED, small_sam2
from stored_sam2 import meta_tensors, transformers_tensors, write_meta, write_transformers

WRITERS = {"meta": (write_meta, "x.pt"), "transformers": (write_transformers, "x.safetensors")}
TENSORS = {"meta": meta_tensors, "transformers": transformers_tensors}

pytestmark = pytest.mark.usefixtures("known_sizes")


@pytest.fixture(params=WRITERS)
def layout(request) -> str:
    return request.param


@pytest.fixture
def write(tmp_path, layout):
    """Write a file of the layout, with other tensors where some are given."""
    writer, name = WRITERS[layout]
    return lambda tensors=None: writer(tmp_path / name, tensors)


def refused(path: Path) -> WeightsError:
    """Load a file that must not load; it must be named, and there must be a hint."""
    with pytest.raises(WeightsError) as caught:
        load_any(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_file_becomes_its_network(write, layout):
    """In float32, to answer, with every tensor as it was."""
    network, found = load_any(write())
    assert isinstance(network, Sam2Network)
    assert not network.training
    assert found.layout == layout
    for name, tensor in small_sam2().state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name
        assert network.state_dict()[name].dtype == torch.float32


def test_the_digest_is_the_same_in_every_layout(tmp_path):
    """It names the weights, and other weights have another."""
    digests = {
        load_any(write_meta(tmp_path / "a.pt")).network.spec.digest,
        load_any(write_transformers(tmp_path / "a.safetensors")).network.spec.digest,
        load_any(
            write_meta(tmp_path / "b.pt", meta_tensors(small_sam2(seed=6)))
        ).network.spec.digest,
    }
    assert sorted(map(len, digests)) == [64, 64]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(write, layout, dtype):
    """Each as near as that dtype has it."""
    tensors = {name: each.to(dtype) for name, each in TENSORS[layout]().items()}
    network = load_any(write(tensors)).network
    for name, tensor in small_sam2().state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor.to(dtype).float()), name


def test_tensors_stay_in_the_file(write):
    """Nothing is copied that need not be: only what does not begin where torch's own would."""
    network, found = load_any(write())
    for name, tensor in network.state_dict().items():
        given = found.tensors[name].data_ptr()
        assert (tensor.data_ptr() == given) == (given % 64 == 0), name


def test_the_second_set_of_frequencies_may_be_left_out(tmp_path):
    """Some files of transformers have it, some have not."""
    tensors = transformers_tensors()
    del tensors["shared_image_embedding.positional_embedding"]
    assert load_any(write_transformers(tmp_path / "x.safetensors", tensors)).found.name


def test_images_only_load(write, layout):
    """What `Sam2Model` of transformers saves has no memory."""
    tensors = {
        name: each
        for name, each in TENSORS[layout](without_memory()).items()
        if not name.startswith("memory")
    }
    network, found = load_any(write(tensors))
    assert network.memory is None
    assert found.version is None


def without_memory() -> Sam2Network:
    return small_sam2(replace(FITTING, memory=None))


def test_a_checkpoint_may_be_bare(tmp_path):
    """The tensors alone, as `torch.save(network.state_dict(), path)` writes them."""
    torch.save(meta_tensors(), tmp_path / "x.pt")
    assert load_any(tmp_path / "x.pt").found.layout == "meta"


def test_an_old_pickle_is_read(tmp_path):
    """torch before 1.6 wrote no archive."""
    torch.save({"model": meta_tensors()}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    assert load_any(tmp_path / "x.pt").found.layout == "meta"


def test_the_ending_means_nothing(tmp_path):
    """What is in a file decides how it is read."""
    assert load_any(write_meta(tmp_path / "x.safetensors")).found.layout == "meta"
    assert load_any(write_transformers(tmp_path / "x.pt")).found.layout == "transformers"


def test_a_folder_as_transformers_saves_it(tmp_path):
    """Its sizes are in `config.json`, so that any size loads, and answers as the reference does."""
    pytest.importorskip("transformers")
    from reference_sam2 import reference_config

    write_transformers(tmp_path / "model.safetensors", transformers_tensors(small_sam2(PADDED)))
    reference_config(PADDED).save_pretrained(tmp_path)
    network, found = load_any(tmp_path)
    assert network.config == found.config == PADDED


def test_a_file_alone_is_read_as_its_folder_is(tmp_path):
    """The `config.json` beside `model.safetensors` is its own; beside other names it is not."""
    pytest.importorskip("transformers")
    from reference_sam2 import reference_config

    file = tmp_path / "model.safetensors"
    write_transformers(file, transformers_tensors(small_sam2(PADDED)))
    reference_config(PADDED).save_pretrained(tmp_path)
    assert load_any(file).network.config == load_any(tmp_path).network.config == PADDED
    other = file.rename(tmp_path / "other.safetensors")
    assert "no size that is known" in str(refused(other))


def test_a_folder_with_one_checkpoint(tmp_path):
    """Whatever it is called, and whatever else lies there."""
    write_meta(tmp_path / "anything.pt")
    (tmp_path / "README.md").write_text("about")
    assert load_any(tmp_path).found.layout == "meta"


def test_transformers_file_goes_first_in_a_folder(tmp_path):
    """The hub's own folders have both."""
    write_meta(tmp_path / "sam2.1_hiera_tiny.pt")
    write_transformers(tmp_path / "model.safetensors")
    assert load_any(tmp_path).found.layout == "transformers"


def test_a_folder_without_weights_is_refused(tmp_path):
    """Empty, or with other files."""
    assert "holds no weights" in str(refused(tmp_path))
    (tmp_path / "README.md").write_text("about")
    assert "holds no weights" in str(refused(tmp_path))


def test_a_folder_of_many_is_refused_by_their_names(tmp_path):
    """Which of them is meant, only the user knows."""
    write_meta(tmp_path / "a.pt")
    write_meta(tmp_path / "b.pt")
    assert "2 weights files: `a.pt`, `b.pt`" in str(refused(tmp_path))


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 10**5, '{"model_type": "bert"}'])
def test_a_folder_with_a_damaged_config_is_refused(tmp_path, content):
    """Not JSON, no object, or of another model."""
    write_transformers(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=r"config\.json"):
        load_any(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_a_truncated_file_is_refused(write, share):
    """Cut anywhere, it is called damaged."""
    path = write()
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "damaged" in str(refused(path))


class Payload:
    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_a_payload_is_not_run(tmp_path, monkeypatch, zipped):
    """It is refused for what it is, and nothing of it happens."""
    monkeypatch.chdir(tmp_path)
    content = {"model": meta_tensors(), "epoch": Payload()}
    torch.save(content, "x.pt", _use_new_zipfile_serialization=zipped)
    assert "might run as code" in str(refused(Path("x.pt")))
    assert not Path("ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("version", ["2.4.0", "2.5.1+cu124", "2.6.0a0+git1"])
def test_an_old_torch_reads_no_pickle(tmp_path, monkeypatch, zipped, version):
    """Before 2.6 `weights_only` could be got round, so the file is not opened as one."""
    path = tmp_path / "x.pt"
    torch.save({"model": meta_tensors()}, path, _use_new_zipfile_serialization=zipped)
    ours = write_transformers(tmp_path / "x.safetensors")
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    error = refused(path)
    assert f"torch {version} cannot read safely" in str(error)
    assert ".safetensors" in error.hint
    assert load_any(ours).found.layout == "transformers"


def test_an_archive_behind_something_else_is_not_unpickled(tmp_path, monkeypatch):
    """What a file is, its beginning says; an archive may have anything before it."""
    archive = write_meta(tmp_path / "x.pt").read_bytes()
    path = tmp_path / "y.pt"
    path.write_bytes(b"anything" + archive)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    assert "not a safetensors file" in str(refused(path))


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.to_sparse(),
        lambda tensor: tensor.to("meta"),
        lambda tensor: torch.zeros(()).expand(tensor.shape),
        lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
    ],
    ids=["sparse", "meta", "expanded", "quantized"],
)
@pytest.mark.parametrize(
    "name", ["sam_mask_decoder.conv_s0.weight", "sam_prompt_encoder.point_embeddings.1.weight"]
)
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_tensors_that_are_not_dense_are_refused(tmp_path, name, change):
    """The first is named."""
    tensors = meta_tensors()
    tensors[name] = change(tensors[name])
    path = write_meta(tmp_path / "x.pt", tensors)
    assert f"`{name}`" in str(refused(path))


def test_floats_that_mean_nothing_alone_are_refused(write, layout):
    """Eight bits are quantised; the dtype is named."""
    tensors = TENSORS[layout]()
    name = next(name for name in tensors if name.endswith("conv_s0.bias"))
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)
    assert f"`{name}` of torch.float8_e4m3fn" in str(refused(write(tensors)))


def test_parameters_are_tensors(tmp_path):
    """A checkpoint may hold what was learnt; what is loaded learns nothing from it."""
    tensors = {name: torch.nn.Parameter(each) for name, each in meta_tensors().items()}
    network = load_any(write_meta(tmp_path / "x.pt", tensors)).network
    assert network.spec.digest == load_any(write_meta(tmp_path / "y.pt")).network.spec.digest


def test_rows_of_unlike_shapes_are_refused(tmp_path):
    """The row is named."""
    tensors = meta_tensors()
    name = "sam_prompt_encoder.point_embeddings.1.weight"
    tensors[name] = torch.zeros(1, 3)
    assert f"`{name}` is (1, 3)" in str(refused(write_meta(tmp_path / "x.pt", tensors)))


def test_a_plain_pickle_is_refused(tmp_path):
    """Not of torch at all."""
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"model": [1, 2]}))
    refused(path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "a PNG image"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 99, "a JPEG image"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        (b"just words", "not a safetensors file"),
        (b"PK\x03\x04" + b"\0" * 99, "not a PyTorch file"),
        (b"PK\x05\x06" + b"\0" * 99, "not a safetensors file"),
    ],
)
def test_what_is_no_weights_is_named(tmp_path, content, kind):
    """Files that lie where weights should be."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert kind in str(refused(path))


@pytest.mark.parametrize("content", [7, [torch.zeros(1)], {}, {"model": {}}, {"model": 7}, {1: 2}])
def test_a_checkpoint_without_named_tensors_is_refused(tmp_path, content):
    """It may be read, but there is no network in it."""
    torch.save(content, tmp_path / "x.pt")
    assert "no tensors by name" in str(refused(tmp_path / "x.pt"))


def test_a_missing_file_is_refused(tmp_path):
    """With the system's reason."""
    assert "no such file" in str(refused(tmp_path / "x.pt"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(write, layout, value):
    """The tensor is named as the file does."""
    tensors = TENSORS[layout]()
    name = next(name for name in tensors if name.endswith("conv_s0.bias"))
    tensors[name][3] = value
    assert f"`{name}` holds NaN or infinity" in str(refused(write(tensors)))


def test_a_tensor_of_another_shape_is_refused(write, layout):
    """The tensor is named as the file does, with both shapes."""
    tensors = TENSORS[layout]()
    name = next(name for name in tensors if name.endswith("conv_s0.bias"))
    tensors[name] = torch.zeros(7)
    assert f"`{name}` is (7,), not (4,)" in str(refused(write(tensors)))


def test_whole_numbers_are_no_weights(write, layout):
    """Quantised weights need what they were quantised with."""
    tensors = TENSORS[layout]()
    name = next(name for name in tensors if name.endswith("conv_s0.bias"))
    tensors[name] = tensors[name].to(torch.int8)
    assert f"`{name}` has numbers of another kind: torch.int8" in str(refused(write(tensors)))


def test_each_tensor_must_be_there(write, layout):
    """Any one that is left out is named; the memory may be wholly absent, not in part."""
    whole = TENSORS[layout]()
    names = [name for name in whole if "shared_image_embedding" not in name]
    # 37 apart, so that there are some of each part, the memory too.
    kept = names[::37]
    assert any(name.startswith("memory_") for name in kept)
    for name in kept:
        tensors = {other: each for other, each in whole.items() if other != name}
        assert f"`{name}`" in str(refused(write(tensors)))


def test_each_tensor_must_be_known(write, layout):
    """One more than there should be is named."""
    tensors = {**TENSORS[layout](), "extra.weight": torch.zeros(2)}
    assert "`extra.weight`" in str(refused(write(tensors)))


def test_another_family_is_named(tmp_path):
    """A file that is whole, but of another network."""
    save_file({"layer1.0.conv1.weight": torch.zeros(2)}, tmp_path / "sam2.1_hiera_tiny.pt")
    assert "it looks like a ResNet" in str(refused(tmp_path / "sam2.1_hiera_tiny.pt"))


def test_training_takes_only_the_built_in_kind(tmp_path):
    """What cannot be trained here is refused before anything is trained."""
    with pytest.raises(WeightsError, match=r"of `sam2\.1-tiny`, not of the built-in model"):
        load_builtin(write_meta(tmp_path / "x.pt"))


def test_a_model_answers_from_any_layout(tmp_path):
    """From path to masks, the same ones from both files."""
    image = torch.randint(0, 256, (23, 41, 3), generator=torch.Generator().manual_seed(2))
    answers = [
        ps.load(path, device="cpu").segment(image.numpy().astype("uint8"), ps.Points([(7, 5)]))
        for path in (write_meta(tmp_path / "a.pt"), write_transformers(tmp_path / "a.safetensors"))
    ]
    assert answers[0].runs == answers[1].runs
    assert answers[0].scores.tolist() == answers[1].scores.tolist()


def test_loading_takes_no_random_numbers(write):
    """A caller's seed is as it was."""
    path = write()
    before = torch.get_rng_state()
    load_any(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_tensors_begin_where_torchs_own_do(tmp_path, known_sizes):
    """Wherever they begin in the file: kernels add up in another order elsewhere."""
    network = load_any(write_transformers(tmp_path / "x.safetensors")).network
    starts = {tensor.data_ptr() % 64 for tensor in network.state_dict().values()}
    assert starts == {0}


def test_what_is_no_file_is_refused(tmp_path):
    """A pipe would be waited for without end."""
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(WeightsError, match="neither a file nor a folder"):
        load_any(tmp_path / "pipe.pt")


def test_names_that_could_forge_a_line_are_refused(tmp_path):
    """Names of tensors are shown to people."""
    save_file({"\x1b[31m\nerror: forged": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="a tensor named") as raised:
        load_any(tmp_path / "x.safetensors")
    assert "\n" not in str(raised.value)
