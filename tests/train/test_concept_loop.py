"""Learning to find: the loop for real on a toy, how a network begins, and how it is graded."""

from __future__ import annotations

import itertools
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer as Rules
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from promptseg.errors import ConfigError, OutputError, WeightsError
from promptseg.nn.sam3.config import FinderConfig, Sam3Config, TextConfig, TrunkConfig
from promptseg.nn.sam3.model import Sam3Finder
from promptseg.nn.sam3.tokenizer import Tokenizer
from promptseg.train.concepts.batches import batch_of, concept_batches
from promptseg.train.concepts.beginning import begin
from promptseg.train.concepts.loop import ConceptOptions, Lesson, look, rate_at, train_concepts
from promptseg.train.concepts.questions import WORDS, Intent, Question, put
from promptseg.train.concepts.quiz import Count, answered_by, grade, overlaps, unseen_scenes
from promptseg.train.concepts.scenes import Scene, Thing

OPTIONS = ConceptOptions(
    steps=4,
    seeing=1,
    seen=2,
    scenes=2,
    questions=2,
    drawn=2,
    draw_every=2,
    warmup=1,
    save_every=2,
)
TOY = Sam3Config(
    trunk=TrunkConfig(
        patch=8, width=16, depth=2, heads=2, hidden=16, window=3, global_blocks=(1,), background=3
    ),
    image_side=48,
    channels=16,
    heads=2,
    hidden=16,
    finder=FinderConfig(
        text=TextConfig(vocabulary=20, context=8, width=16, depth=1, heads=2, hidden=16),
        exemplar_layers=1,
        fusion_layers=1,
        detector_layers=2,
        queries=5,
        roi=2,
        groups=2,
    ),
    clicker=None,
)
CPU = torch.device("cpu")


def fresh() -> Sam3Finder:
    """The same random network each time, with a number for each word."""
    torch.manual_seed(0)
    network = Sam3Finder(TOY)
    rules = Rules(WordLevel({w: i for i, w in enumerate(("?", *WORDS))}, unk_token="?"))
    rules.pre_tokenizer = WhitespaceSplit()
    network.tokenizer = Tokenizer(rules, context=8)
    begin(network)
    return network


def test_training_stops_and_goes_on(tmp_path: Path) -> None:
    """What is stopped after three steps goes on from the last state saved, to the end."""
    state = tmp_path / "toy.state"
    run = train_concepts(fresh(), state, OPTIONS, device=CPU)
    before = [report.step for report, _ in itertools.islice(run, 3)]
    run.close()
    after = [report.step for report, _ in train_concepts(fresh(), state, OPTIONS, device=CPU)]

    assert before == [1, 2, 3]
    assert after == [3, 4]
    lines = (tmp_path / "toy.state.log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 3, 4]


def test_a_seed_gives_the_same_training(tmp_path: Path) -> None:
    """Two runs of one seed report the same losses."""
    one, other = (
        [
            report.numbers.loss
            for report, _ in train_concepts(fresh(), tmp_path / name, OPTIONS, device=CPU)
        ]
        for name in ("a", "b")
    )
    assert one == pytest.approx(other, rel=1e-4)


def test_every_weight_learns(tmp_path: Path) -> None:
    """A few steps move every tensor of the network, so each part has its share in the losses."""
    network = fresh()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for _ in train_concepts(network, tmp_path / "s", OPTIONS, device=CPU):
        pass
    still = [
        name for name, value in network.state_dict().items() if torch.equal(value, before[name])
    ]
    # A bias of keys adds the same to every likeness.
    assert not [name for name in still if not name.endswith("keys.bias")]


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    """It names the file and says what to do."""
    (tmp_path / "s").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="not a training state") as caught:
        next(train_concepts(fresh(), tmp_path / "s", OPTIONS, device=CPU))
    assert caught.value.hint


def test_a_place_that_cannot_be_written_is_found_out_at_once(tmp_path: Path) -> None:
    """Before the first step, not after the last."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot write"):
        next(train_concepts(fresh(), tmp_path / "file" / "s", OPTIONS, device=CPU))


def test_nothing_to_do_is_refused() -> None:
    """A batch without questions teaches nothing."""
    with pytest.raises(ConfigError, match="`questions` is at least 1, got 0"):
        ConceptOptions(questions=0)


def test_the_rate_goes_up_stays_and_comes_down() -> None:
    """Twice over a warm-up, at double height while only seeing is learned, and down at the end."""
    options = ConceptOptions(steps=100, seeing=20, warmup=10, cooldown=0.5, rate=1e-3)
    rates = [rate_at(step, options) for step in (0, 9, 19, 20, 30, 75, 99)]

    assert rates == pytest.approx([2e-4, 2e-3, 2e-3, 1e-4, 1e-3, 5e-4, 2e-5])


def test_what_is_not_drawn_is_not_looked_at_closely() -> None:
    """Without the finer maps, which only masks need, all else is answered alike."""
    network = fresh().eval()
    batch = next(concept_batches(side=48, mask_side=24, scenes=2, questions=3, seed=1))
    with torch.no_grad():
        full, with_masks = look(network, batch, 3)
        less, without = look(network, batch, 3, drawing=False)

    assert full.fine.numel() > 0 == less.fine.numel()
    for one, other in zip(with_masks, without, strict=True):
        for column, same in zip(one, other, strict=True):
            torch.testing.assert_close(column, same)


def test_slots_begin_on_a_grid() -> None:
    """Five slots stand in rows of three, and each layer leaves them where they began."""
    network = fresh()
    batch = next(concept_batches(side=48, mask_side=24, scenes=1, questions=2, seed=0))
    with torch.no_grad():
        _, layers = look(network, batch, 2)
    middles = (layers[0].boxes[0, :, :2] + layers[0].boxes[0, :, 2:]) / 2

    expected = torch.tensor([[1, 1], [3, 1], [5, 1], [1, 3], [3, 3]]) / torch.tensor([6, 4])
    torch.testing.assert_close(middles, expected)
    torch.testing.assert_close(layers[0].boxes, layers[1].boxes)


def test_each_question_is_put_to_its_own_image() -> None:
    """Answers to a batch are those to each of its questions alone."""
    network = fresh().eval()
    batch = next(concept_batches(side=48, mask_side=24, scenes=2, questions=3, seed=1))
    with torch.no_grad():
        _, layers = look(network, batch, 3)
        for i in (0, 2, 3, 5):
            alone = batch._replace(
                images=batch.images[i // 3 : i // 3 + 1],
                phrases=batch.phrases[i : i + 1],
                examples=type(batch.examples)(*(c[i : i + 1] for c in batch.examples)),
            )
            _, single = look(network, alone, 1)
            torch.testing.assert_close(layers[-1].logits[i : i + 1], single[-1].logits)


def test_a_batch_holds_what_is_meant() -> None:
    """Boxes are shares, masks the cover of cells, padding is not there, ragged examples are -1."""
    mask = np.zeros((2, 8, 8), bool)
    mask[0, 0:4, 0:2], mask[1, 5:8, 4:8] = True, True
    scene = Scene(np.zeros((8, 8, 3), np.uint8), (_thing("circle"), _thing("square")), mask)
    rng = np.random.default_rng(0)
    asked = [
        put(rng, Intent("square"), scene),
        put(rng, Intent("visual", (0, 1), (1, 0)), scene),
    ]
    batch = batch_of([scene], [asked], mask_side=4)

    assert batch.truth.there.sum(dim=1).tolist() == [1, 1]
    assert batch.truth.boxes[0, 0].tolist() == [0.5, 0.625, 1, 1]
    assert batch.truth.masks[0, 0, 2].tolist() == [0, 0, 0.5, 0.5]
    assert batch.examples.labels.tolist() == [[-1, -1], [1, 0]]


def test_one_who_knows_gets_full_marks() -> None:
    """The truth itself finds all, drops all that is pointed at, and says absent when absent."""
    grades = grade(_knows, scenes=12, side=48, seed=3)
    assert grades == (1, 1, 1, 1, 1)


def test_one_who_is_deaf_to_words_is_found_out() -> None:
    """Who always shows everything removes nothing and rejects nothing; who shows nothing, all."""
    everything = grade(lambda image, _: _scene_of(image).masks, scenes=12, side=48, seed=3)
    nothing = grade(lambda image, _: _scene_of(image).masks[:0], scenes=12, side=48, seed=3)

    assert everything.removed == everything.rejected == 0
    assert 0.3 < everything.text < 0.85
    assert nothing == (0, 0, 0, 0, 1)


def test_a_thing_found_twice_counts_once() -> None:
    """The second mask of a thing is one too many."""
    assert Count(3, 2, 2).f1 == pytest.approx(4 / 5)
    masks = np.zeros((2, 3, 5), bool)
    masks[0, 0], masks[1, :2] = True, True
    assert overlaps(masks, masks).tolist() == [[1, 0.5], [0.5, 1], [0, 0]]


def test_a_network_answers_with_masks_of_the_image() -> None:
    """Bool masks at image size, the best first, or none."""
    find = answered_by(fresh().eval())
    scene, rng = next(iter(unseen_scenes(1, side=48, seed=0)))
    masks = find(scene.image, put(rng, Intent("visual", (0,), (1,)), scene))

    assert masks.dtype == bool
    assert masks.shape[1:] == (48, 48)


def test_only_training_needs_guesses_of_cells() -> None:
    """They are no part of the network, whose weights are written."""
    lesson = Lesson(fresh())
    assert {name.split(".")[0] for name in lesson.state_dict()} == {"network", "cells", "words"}


def _thing(shape: str) -> Thing:
    return Thing("red", shape, "plain")


def _scene_of(image: np.ndarray) -> Scene:
    return next(scene for scene in _scenes() if np.array_equal(scene.image, image))


@cache
def _scenes() -> list[Scene]:
    return [scene for scene, _ in unseen_scenes(12, side=48, seed=3)]


def _knows(image: np.ndarray, question: Question) -> np.ndarray:
    scene = _scene_of(image)
    assert all(i < len(scene.things) for i in question.meant)
    return scene.masks[list(question.meant)]
