"""SAM 3 loads from the files that people have, or is refused in a sentence."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from promptseg.errors import ConfigError, WeightsError
from promptseg.nn.sam3.config import PUBLISHED
from promptseg.nn.sam3.model import Sam3Clicker, Sam3Finder
from promptseg.weights import catalog, identify, inventory
from promptseg.weights.convert import convert
from promptseg.weights.hollow import hollow
from promptseg.weights.keymaps.sam3 import DIALECTS, dialect_of
from promptseg.weights.load import load_any
from promptseg.weights.stored import Stored
from small_sam3 import CLICKER_ONLY, FINDER_ONLY, SMALL, small_sam3, small_tokenizer
from stored_sam3 import KINDS, WHOLE, tensors_of, whole_weights, write, write_tokenizer

pytestmark = pytest.mark.usefixtures("known_sam3")


def refused(path: Path) -> WeightsError:
    """Load a file that must not load; it must be named, and there must be a hint."""
    with pytest.raises(WeightsError) as caught:
        load_any(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", KINDS)
def test_a_file_becomes_its_network(tmp_path, name):
    """Every tensor as it was, halves that are not there left out, nothing missing or unknown.

    Its class tells what may be asked, and its name what may not.
    """
    config = KINDS[name].config
    network, found = load_any(write(tmp_path, name))
    assert (found.layout, found.family, found.version) == (KINDS[name].layout, "sam3", "3")
    assert network.config == found.config == config
    assert not network.training
    whole, mine = whole_weights(5), network.state_dict()
    assert mine.keys() == hollow(config).state_dict().keys()
    for each, tensor in mine.items():
        assert torch.equal(tensor, whole[each]), each
    halves = config.finder is not None, config.clicker is not None
    assert (isinstance(network, Sam3Finder), isinstance(network, Sam3Clicker)) == halves
    without = {(True, True): "", (True, False): ", find only", (False, True): ", segment only"}
    assert found.name == "sam3" + without[halves]


def test_both_layouts_give_the_same_bits(tmp_path):
    """The digest is the same in each, and in ours; other weights have another."""
    paths = [write(tmp_path / name, name) for name in WHOLE]
    networks = [load_any(path).network for path in paths]
    ours = tmp_path / "ours.safetensors"
    digests = {each.spec.digest for each in networks} | {convert(networks[0], ours, "promptseg")}
    networks.append(load_any(ours).network)
    digests.add(networks[-1].spec.digest)
    other = load_any(write(tmp_path / "b", "meta", tensors_of("meta", seed=6))).network
    assert len(digests) == 1
    assert other.spec.digest not in digests
    pixels = torch.randn(1, 3, 42, 42, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        seen = [network.encode(pixels).grids for network in networks]
    for grids in seen[1:]:
        assert all(torch.equal(*pair) for pair in zip(seen[0], grids, strict=True))


def test_the_tokenizer_is_found_beside_the_weights(tmp_path):
    """It takes phrases apart, and belongs to what the network is."""
    without = {name: load_any(write(tmp_path / name, name)).network for name in WHOLE}
    for name in WHOLE:
        write_tokenizer(tmp_path / name)
    networks = {name: load_any(write(tmp_path / name, name)).network for name in WHOLE}
    [bare] = {each.spec.digest for each in without.values()}
    [digest] = {each.spec.digest for each in networks.values()}
    assert bare != digest
    ids = networks["meta"].tokenizer(["Red cup"]).ids
    assert torch.equal(ids, small_tokenizer()(["red cup"]).ids)
    assert networks["meta"].read(["red cup"]).features.shape == (1, 4, 32)


def test_a_missing_tokenizer_is_named_when_it_is_needed(tmp_path):
    """Everything else works without one."""
    network = load_any(write(tmp_path, "meta")).network
    assert network.tokenizer is None
    with pytest.raises(WeightsError, match=r"without `tokenizer\.json`") as caught:
        network.read(["cup"])
    assert "merges.txt" in caught.value.hint


def test_a_damaged_tokenizer_is_named(tmp_path):
    """It is not left out without a word."""
    path = write(tmp_path, "meta")
    (tmp_path / "tokenizer.json").write_text("{")
    assert "tokenizer.json` is damaged" in str(refused(path))


def test_weights_that_find_nothing_need_no_tokenizer(tmp_path):
    """Whatever lies beside them is not looked at."""
    path = write(tmp_path, "transformers' Sam3TrackerModel")
    (tmp_path / "tokenizer.json").write_text("{")
    assert load_any(path).network.tokenizer is None


def test_our_layout_has_all_in_one_file(tmp_path):
    """Sizes, digest, and the rules that take phrases apart."""
    network = small_sam3()
    digest = convert(network, tmp_path / "x.safetensors", "promptseg")
    back, found = load_any(tmp_path / "x.safetensors")
    assert (found.layout, back.config, back.spec.digest) == ("promptseg", SMALL, digest)
    assert torch.equal(back.tokenizer(["a dog"]).ids, network.tokenizer(["a dog"]).ids)
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["family"] == "sam3"
    assert json.loads(metadata["config"])["finder"]["queries"] == 13


@pytest.mark.parametrize("config", [FINDER_ONLY, CLICKER_ONLY], ids=["finder", "clicker"])
def test_our_layout_keeps_a_half(tmp_path, config):
    """Its header says that the other is not there."""
    convert(small_sam3(config), tmp_path / "x.safetensors", "promptseg")
    assert load_any(tmp_path / "x.safetensors").network.config == config


@pytest.mark.parametrize(
    "edit",
    [
        lambda config: config.update(image_side=84),
        lambda config: config["trunk"].update(heads=3),
        lambda config: config["trunk"].update(global_blocks=[2]),
        lambda config: config["finder"]["text"].update(heads=2),
        lambda config: config["finder"].update(groups=4),
    ],
)
def test_sizes_that_tensors_do_not_tell_are_proved(tmp_path, edit):
    """By the digest, as are the rules for phrases."""
    path = rewritten(tmp_path, config=edit)
    assert "tensors or sizes" in str(refused(path))


def test_rules_for_phrases_are_proved(tmp_path):
    """Other words in the header are not those that the weights were written with."""

    def edit(rules):
        rules["model"]["vocab"] |= {"cat": 10, "dog": 9}

    assert "their digest differs" in str(refused(rewritten(tmp_path, tokenizer=edit)))


@pytest.mark.parametrize("rules", ["{", "[]", "{}", '{"model": 7}', "7"])
def test_rules_that_are_none_are_refused(tmp_path, rules):
    """In a header that someone damaged."""
    path = tmp_path / "x.safetensors"
    convert(small_sam3(), path, "promptseg")
    with safe_open(path, framework="pt") as file:
        metadata = {**file.metadata(), "tokenizer": rules}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata=metadata)
    refused(path)


def rewritten(folder: Path, **edits) -> Path:
    """A file of ours with what edits make of the JSON in its header."""
    path = folder / "x.safetensors"
    convert(small_sam3(), path, "promptseg")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    for key, edit in edits.items():
        content = json.loads(metadata[key])
        edit(content)
        metadata[key] = json.dumps(content)
    save_file(tensors, path, metadata=metadata)
    return path


@pytest.mark.parametrize("layout", ["meta", "transformers"])
def test_it_is_not_written_as_others_have_it(tmp_path, layout):
    """What plays no part is not kept, so no file of theirs would be whole; nothing is written."""
    with pytest.raises(ConfigError, match="in our layout only") as caught:
        convert(small_sam3(), tmp_path / "x.pt", layout)
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", WHOLE)
def test_each_tensor_must_be_there(tmp_path, name):
    """Any one that is left out is named; halves and memory are there or not, never in part."""
    whole = tensors_of(name)
    keymap = KINDS[name].keymap
    names = [each for each in whole if each not in keymap.idle(whole) | {*keymap.copies}]
    # 83 apart, so that there are some of each part.
    for left_out in names[::83]:
        tensors = {each: tensor for each, tensor in whole.items() if each != left_out}
        assert f"`{left_out}`" in str(refused(write(tmp_path, name, tensors)))


@pytest.mark.parametrize("name", WHOLE)
def test_each_tensor_must_be_known(tmp_path, name):
    """One more than there should be is named."""
    tensors = {**tensors_of(name), "extra.weight": torch.zeros(2)}
    assert "`extra.weight`" in str(refused(write(tmp_path, name, tensors)))


# A tensor that is renamed, one that is split or joined, a map of positions, and a row of a stack.
SHAPES = {
    "meta": (
        "detector.transformer.encoder.layers.0.norm1.weight",
        "detector.transformer.decoder.layers.0.self_attn.in_proj_weight",
        "detector.backbone.vision_backbone.trunk.blocks.1.attn.qkv.weight",
        "detector.backbone.vision_backbone.trunk.pos_embed",
        "tracker.sam_prompt_encoder.point_embeddings.1.weight",
    ),
    "transformers": (
        "detector_model.detr_encoder.layers.0.layer_norm1.weight",
        "detector_model.detr_decoder.layers.0.self_attn.k_proj.weight",
        "detector_model.vision_encoder.backbone.layers.1.attention.k_proj.weight",
        "detector_model.vision_encoder.backbone.embeddings.position_embeddings",
        "tracker_model.prompt_encoder.point_embed.weight",
    ),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("place", range(5))
def test_a_tensor_of_another_shape_is_named(tmp_path, name, place):
    """As the file names it, whatever is made of it."""
    each = SHAPES[name][place]
    assert each in tensors_of(name)
    for shape in ((1, 11, 24), ()):
        tensors = {**tensors_of(name), each: torch.zeros(shape)}
        assert f"`{each}`" in str(refused(write(tmp_path, name, tensors)))


@pytest.mark.parametrize("name", WHOLE)
def test_weights_that_are_no_numbers_are_refused(tmp_path, name):
    """Of what plays a part; the rest may be anything, as the idle tensors of these tests are."""
    tensors = tensors_of(name)
    each = next(each for each in tensors if each.endswith("conv_s0.bias"))
    tensors[each][1] = float("nan")
    assert f"`{each}` holds NaN" in str(refused(write(tmp_path, name, tensors)))


def test_a_neck_that_nothing_reads_is_left_out(tmp_path):
    """Meta's image model may have the second one without what is clicked."""
    tensors = tensors_of("meta's image model")
    tracker = "inst_interactive_predictor."
    without = {name: each for name, each in tensors.items() if not name.startswith(tracker)}
    assert any("sam2_convs" in name for name in without)
    network, found = load_any(write(tmp_path, "meta's image model", without))
    assert network.config == FINDER_ONLY
    assert found.name == "sam3, find only"


def test_a_trunk_alone_is_no_network(tmp_path):
    """It is said what is missing, or that it is none."""
    tensors = {name: each for name, each in tensors_of("meta").items() if ".trunk." in name}
    assert "missing" in str(refused(write(tmp_path, "meta", tensors)))


def test_published_sizes_are_known_by_their_shapes(monkeypatch):
    """Of both halves and of each, in both layouts, without a `config.json`."""
    monkeypatch.undo()
    halves = (PUBLISHED, replace(PUBLISHED, finder=None), replace(PUBLISHED, clicker=None))
    for dialect in (DIALECTS[2], DIALECTS[-3]):
        for config in halves:
            theirs = dialect.keymap.to_theirs(hollow(config).state_dict())
            counted = {name: each for name, each in theirs.items() if not each.is_cpu}
            for copy in dialect.keymap.copies:
                counted.pop(copy, None)
            found = identify.identify(Stored(Path("x"), counted, {}, {}))
            assert found.config == config
            assert found.is_named("sam3")


def test_published_names_are_those_of_transformers(monkeypatch):
    """Its four networks have these tensors and no others, at the published sizes."""
    transformers = pytest.importorskip("transformers")

    kinds = {
        "Sam3Model": replace(PUBLISHED, clicker=None),
        "Sam3TrackerModel": replace(
            PUBLISHED, finder=None, clicker=replace(PUBLISHED.clicker, memory=None)
        ),
        "Sam3TrackerVideoModel": replace(PUBLISHED, finder=None),
        "Sam3VideoModel": PUBLISHED,
    }
    for kind, config in kinds.items():
        model = getattr(transformers, kind)
        with torch.device("meta"):
            theirs = model(model.config_class()).state_dict()
        keymap = dialect_of(theirs).keymap
        named = keymap.to_theirs(hollow(config).state_dict())
        idle = keymap.idle(theirs)
        assert {name: each.shape for name, each in named.items()} == {
            name: each.shape for name, each in theirs.items() if name not in idle
        }


@pytest.mark.parametrize("kind", ["image", "tracker", "video_tracker", "video"])
def test_what_transformers_saves_loads(tmp_path, kind, monkeypatch):
    """Its own files, with sizes from its `config.json`, at sizes that nobody published."""
    transformers = pytest.importorskip("transformers")
    import reference_sam3

    monkeypatch.setattr(identify, "SIZES3", {})
    classes = {
        "image": ("Sam3Model", FINDER_ONLY),
        "tracker": ("Sam3TrackerModel", KINDS["transformers' Sam3TrackerModel"].config),
        "video_tracker": ("Sam3TrackerVideoModel", wide_memory(CLICKER_ONLY)),
        "video": ("Sam3VideoModel", wide_memory(SMALL)),
    }
    name, config = classes[kind]
    sizes = getattr(reference_sam3, f"{kind}_config")(config)
    model = getattr(transformers, name)(sizes)
    # What is published holds these twice; a model that nobody trained has two that differ.
    weights = model.state_dict()
    for copy, original in dialect_of(weights).keymap.copies.items():
        if copy in weights:
            weights[copy].copy_(weights[original])
    model.save_pretrained(tmp_path)
    network, found = load_any(tmp_path)
    assert network.config == config
    assert found.layout == "transformers"
    assert found.name.startswith("sam3-custom")


def wide_memory(config):
    """Sizes with a memory of 64 channels, as transformers always has it."""
    memory = replace(config.clicker.memory, channels=64)
    return replace(config, channels=64, clicker=replace(config.clicker, memory=memory))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"model_type": "bert"}, "is of a `bert`, not of SAM 3"),
        ({"model_type": "sam3", "vision_config": 7}, "make no SAM 3"),
        ({"model_type": "sam3", "detr_decoder_config": {"num_attention_heads": 0}}, "make no SAM"),
        (
            {
                "model_type": "sam3",
                "detr_decoder_config": {"num_attention_heads": 8},
                "detr_encoder_config": {"num_attention_heads": 4},
            },
            "make no SAM 3",
        ),
        (
            {"model_type": "sam3", "vision_config": {"backbone_config": {"window_size": 5}}},
            "make no network",
        ),
    ],
)
def test_sizes_that_make_no_sense_are_refused(tmp_path, sizes, message):
    """Of another model, of the wrong kind, or that do not fit each other."""
    write(tmp_path, "transformers")
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    with pytest.raises(WeightsError, match=message):
        load_any(tmp_path)


def test_a_size_that_nobody_published_is_refused_by_its_numbers(tmp_path, monkeypatch):
    """Heads and windows cannot be told from tensors, so nothing is guessed."""
    monkeypatch.setattr(identify, "SIZES3", {"sam3": PUBLISHED})
    said = str(refused(write(tmp_path, "meta")))
    assert "a trunk of width 24 and 3 blocks and a text encoder of width 12" in said
    assert "no size that is known" in said


def test_sam31_is_refused_by_its_file_and_by_its_tensors(tmp_path):
    """What it is called, or that its tracker lies deeper than SAM 3's."""
    path = write(tmp_path, "meta")
    named = path.rename(tmp_path / "sam3.1_multiplex.pt")
    assert "it looks like SAM 3.1" in str(refused(named))
    tensors = {
        name.replace("tracker.", "tracker.model."): each
        for name, each in tensors_of("meta").items()
    }
    error = refused(write(tmp_path / "other", "meta", tensors))
    assert "it looks like SAM 3.1" in str(error)
    assert "take `sam3`" in error.hint


def test_a_number_in_a_name_makes_nothing_large(tmp_path):
    """One tensor cannot ask for as many layers as it counts."""
    for name in (
        "detector.backbone.vision_backbone.trunk.blocks.1000000000.norm1.weight",
        "detector.backbone.language_backbone.encoder.transformer.resblocks.1000000000.ln_1.weight",
        "detector.transformer.encoder.layers.1000000000.norm1.weight",
    ):
        refused(write(tmp_path, "meta", tensors_of("meta") | {name: torch.zeros(1)}))


def test_more_layers_than_tensors_are_refused(tmp_path):
    """Of our own header too, where names are not looked at."""

    def edit(config):
        config["finder"]["detector_layers"] = 8000

    assert "make no network" in str(refused(rewritten(tmp_path, config=edit)))


def test_facts_are_told(tmp_path):
    """Family, version, layout and how many numbers, as of SAM 2."""
    facts = inventory.facts(catalog.find(write(tmp_path, "meta")))
    assert (facts.name, facts.family, facts.version) == ("sam3", "sam3", "3")
    assert (facts.layout, facts.size) == ("meta", None)
    counted = sum(each.numel() for each in small_sam3().state_dict().values())
    assert facts.parameters == counted


def test_every_size_is_in_the_header():
    """What is read back is what was written, record by record."""
    assert set(asdict(SMALL)) == {
        *("trunk", "image_side", "channels", "heads", "hidden", "finder", "clicker")
    }
