# ruff: noqa: E501  (a message is one line)
"""What is said of mistakes in `networks`, `values` and `updates`; and of damaged configs of games."""

import random

import pytest
from test_spec_resolved import mutated

from dltrain.errors import ConfigError
from dltrain.spec import build_model, loads
from dltrain.spec.shipped import shipped_configs

GAN = """data: digits
networks:
  maker: [{dense: 64}, {reshape: [8, 8, 1]}]
  judge: [flatten, {dense: {units: 1, activation: none}}]
values:
  noise: {normal: 4}
  fake: {maker: noise}
updates:
  judge:
    - binary_cross_entropy: {of: {judge: image}, target: 0.9}
    - binary_cross_entropy: {of: {judge: fake}, target: 0}
  maker:
    - binary_cross_entropy: {of: {judge: fake}, target: 1}
"""
CRITIC = "{units: 1, layers: [flatten, {dense: {units: $units, activation: none}}]}"
JUDGE = "  judge: [flatten, {dense: {units: 1, activation: none}}]"

# what is wrong -> (the config, what is said, after the name of the file)
MISTAKES: dict[str, tuple[str, ...]] = {
    "circle": (
        GAN.replace("{maker: noise}", "{maker: other}").replace("  noise:", "  other: {maker: fake}\n  noise:"),
        "8:17  values.fake.of[0]: values are made of each other in a circle: other → fake → other",
    ),
    "unknown value": (
        GAN.replace("{maker: noise}", "{maker: nois}"),
        "7:17  values.fake.of[0]: there is no value 'nois'; did you mean 'noise'? allowed: image, label, noise, fake",
    ),
    "unknown network": (
        GAN.replace("{maker: noise}", "{mker: noise}"),
        "7:10  values.fake.network: there is no network 'mker'; did you mean 'maker'? allowed: maker, judge",
    ),
    "unknown network in update": (
        GAN.replace("  maker:\n    -", "  mkaer:\n    -"),
        "12:3  updates.mkaer.networks[0]: there is no network 'mkaer'; did you mean 'maker'? allowed: maker, judge; an update is called like what it trains, or says `networks: […]`",
    ),
    "unknown loss": (
        GAN.replace("binary_cross_entropy: {of: {judge: image}", "binary_crossentropy: {of: {judge: image}"),
        "10:7  updates.judge.minimise[0]: unknown loss 'binary_crossentropy'; here it is `binary_cross_entropy`",
    ),
    "unknown key in term": (
        GAN.replace("target: 0.9", "traget: 0.9"),
        "10:50  updates.judge.minimise[0].binary_cross_entropy.traget: unknown key; did you mean 'target'? allowed: type, of, target, weight, at",
    ),
    "no target": (
        GAN.replace(", target: 0.9", ""),
        "10:7  updates.judge.minimise[0]: binary_cross_entropy needs a `target`",
    ),
    "two shapes": (
        GAN.replace("  fake: {maker: noise}", "  fake: {maker: noise}\n  x: {judge: noise}"),
        "11:34  updates.judge.minimise[0].of: judge takes (8, 8, 1) here, but (4,) in values.x (c.yaml:8:6); one shape only",
        "12:34  updates.judge.minimise[1].of: judge takes (8, 8, 1) here, but (4,) in values.x (c.yaml:8:6); one shape only",
        "14:34  updates.maker.minimise[0].of: judge takes (8, 8, 1) here, but (4,) in values.x (c.yaml:8:6); one shape only",
    ),
    "numeric class": (
        GAN.replace(
            "binary_cross_entropy: {of: {judge: image}, target: 0.9}", "cross_entropy: {of: {judge: image}, target: 1}"
        ),
        "10:51  updates.judge.minimise[0].target: cross_entropy wants classes, not the number 1; binary_cross_entropy, mse and mae take numbers",
    ),
    "out of range": (
        GAN.replace("0.9", "1.5"),
        "10:58  updates.judge.minimise[0].target: binary_cross_entropy takes targets from 0 to 1, not 1.5",
    ),
    "shapes differ": (
        GAN.replace("target: 0.9", "target: image"),
        "10:34  updates.judge.minimise[0].of: judge(image) has shape (1,), but its target image (8, 8, 1); binary_cross_entropy compares them number by number",
    ),
    "class wrong": (
        GAN.replace(
            "binary_cross_entropy: {of: {judge: image}, target: 0.9}",
            "cross_entropy: {of: {judge: image}, target: label}",
        ),
        "10:27  updates.judge.minimise[0].of: judge(image) has shape (1,), but label is one of 10; it must have shape (10,)",
    ),
    "mse of class": (
        GAN.replace(
            "binary_cross_entropy: {of: {judge: image}, target: 0.9}", "mse: {of: {judge: image}, target: label}"
        ),
        "10:41  updates.judge.minimise[0].target: label is one of 10 classes, and mse compares numbers",
    ),
    "label into net": (
        GAN.replace("{judge: image}", "{judge: label}"),
        "10:42  updates.judge.minimise[0].of.of[0]: label is the number of a class; networks take `{one_hot: label}`",
    ),
    "one_hot of a picture": (
        GAN.replace("{maker: noise}", "{maker: [noise, {one_hot: image}]}"),
        "7:35  values.fake.of[1].of: image is not the number of a class; classes here: label",
    ),
    "one_hot of an unknown value": (
        GAN.replace("  fake:", "  digit: {one_hot: labels}\n  fake:"),
        "7:20  values.digit.of: there is no value 'labels'; did you mean 'label'? allowed: image, label, noise, digit, fake",
    ),
    "one_hot judged": (
        GAN.replace("{judge: image}, target: 0.9", "{one_hot: label}, target: 0.9"),
        "10:7  updates.judge.minimise[0]: one_hot(label) is made by nothing that judge trains, so this term teaches nothing",
    ),
    "term of others": (
        GAN.replace("{judge: image}, target: 0.9", "fake, target: 0.9"),
        "10:7  updates.judge.minimise[0]: fake is made by nothing that judge trains, so this term teaches nothing",
    ),
    "one_hot spelt otherwise": (
        GAN.replace("  fake:", "  digit: {onehot: label}\n  fake:"),
        "7:11  values.digit.network: there is no network 'onehot'; here it is `one_hot`",
    ),
    "at a picture": (
        GAN.replace("{of: {judge: fake}, target: 1}", "{of: fake, target: image, at: [dense1]}"),
        "13:60  updates.maker.minimise[0].at[0]: image is made by no network, so it has no layer 'dense1'",
    ),
    "minimise spelt otherwise": (
        GAN.replace(
            "  maker:\n    - binary_cross_entropy: {of: {judge: fake}, target: 1}",
            "  maker: {minimize: [mse: {of: fake, target: 1}]}",
        ),
        "12:10  updates.maker: 'minimise' is missing; expected a list (each a loss)",
        "12:11  updates.maker.minimize: unknown key; did you mean 'minimise'? allowed: networks, minimise, penalty, optimizer, schedule, clip_norm, every",
    ),
    "an input that no layer takes": (
        GAN.replace(
            JUDGE, "  judge: {inputs: [a, b], layers: [{flatten: {from: a}}, {dense: {units: 1, activation: none}}]}"
        )
        .replace("{judge: image}", "{judge: [image, noise]}")
        .replace("{judge: fake}", "{judge: [fake, noise]}"),
        "4:23  networks.judge.inputs[1]: no layer takes b; name it in one, as in `concat: b`, or leave it out",
    ),
    "nobody trains": (
        GAN.split("  maker:\n    - bin")[0] + "train: {epochs: 1}\n",
        "3:10  networks.maker: no update trains it; name it in one, or say `trainable: false`",
    ),
    "does not depend": (
        GAN.replace("{of: {judge: fake}, target: 1}", "{of: {judge: image}, target: 1}"),
        "12:3  updates.maker.networks[0]: nothing that maker minimises depends on maker, so it cannot learn",
    ),
    "unused": (
        GAN.replace("values:", "  third: [{dense: 3}]\nvalues:"),
        "5:10  networks.third: no value is made by it; use it in `values`, as in `made: {third: …}`",
    ),
    "both forms": (
        GAN + "model: {layers: [relu]}\n",
        "14:1  model: a config has `model`, or else `networks`, `values` and `updates`; keep one of the two",
    ),
    "loss too": (
        GAN + "loss: mse\n",
        "14:1  loss: a config has `loss`, or else `networks`, `values` and `updates`; keep one of the two",
    ),
    "no updates": (
        GAN.split("updates:")[0],
        "1:1  'updates' is missing; several networks need `networks` and `updates`",
    ),
    "empty updates": (
        GAN.split("updates:")[0] + "updates: {}\n",
        "8:10  updates: there is none; what should be trained to make what small?",
    ),
    "empty update": (
        GAN.split("updates:")[0] + "updates: {judge: []}\n",
        "8:18  updates.judge.minimise: the list is empty; an update has one loss at least",
    ),
    "name": (
        GAN.replace("  fake:", "  judge: {maker: noise}\n  fake:"),
        "7:3  values.judge: 'judge' is a network already (c.yaml:4:3)",
    ),
    "name normal": (
        GAN.replace("  maker: [", "  normal: [{dense: 1}]\n  maker: ["),
        "3:3  networks.normal: 'normal' is a kind of value already; call it something else",
    ),
    "data name": (
        GAN.replace("  fake:", "  image: {maker: noise}\n  fake:"),
        "7:10  values.image: the data set has a value 'image' already; take another name",
    ),
    "number as value": (
        GAN.replace("{maker: noise}", "{maker: 3}"),
        "7:17  values.fake.of[0]: a number can be a target only",
    ),
    "list as value": (
        GAN.replace("fake: {maker: noise}", "fake: [noise]"),
        "7:9  values.fake: expected a value, got the list [noise]; allowed: value, number, network, one_hot, normal, uniform",
    ),
    "layer error": (
        GAN.replace("reshape: [8, 8, 1]", "reshape: [8, 8, 2]"),
        "3:24  networks.maker.layers[1] (maker.reshape1): does not fit its input (64,): the input has 64 numbers, which do not go into shape [8, 8, 2]: 8·8·2 = 128",
    ),
    "inputs": (
        GAN.replace(JUDGE, "  judge: {inputs: [a, b], layers: [flatten, {dense: {units: 1, activation: none}}]}"),
        "10:34  updates.judge.minimise[0].of: judge has the inputs a, b, but takes 1 here",
        "11:34  updates.judge.minimise[1].of: judge has the inputs a, b, but takes 1 here",
        "13:34  updates.maker.minimise[0].of: judge has the inputs a, b, but takes 1 here",
    ),
    "side by side": (
        GAN.replace("{judge: fake}, target: 0", "{judge: [fake, noise]}, target: 0"),
        "11:42  updates.judge.minimise[1].of.of: do not fit side by side, where all but the channels must be equal: fake (8, 8, 1) and noise (4,)",
    ),
    "no data": (
        GAN.replace("data: digits\n", ""),
        "1:1  data: is missing; what several networks take comes from there",
    ),
    "mixup": (
        GAN.replace("data: digits", "data: {type: digits, mixup: 0.2}"),
        "1:29  data.mixup: is for one network alone, with `model` and `loss`",
    ),
    "best": (
        GAN + "metrics: {best: accuracy}\n",
        "14:17  metrics.best: updates that play against each other have no such figure; one of metrics.pictures may decide, such as frechet/fake",
    ),
    "best of pictures": (
        GAN + "metrics: {best: psnr/fake, pictures: [{spread: {of: fake, to: image}}, {mae: {of: fake, to: image}}]}\n",
        "14:17  metrics.best: metrics.pictures has no 'psnr/fake'; allowed: mae/fake",
    ),
    "best as real": (
        GAN + "metrics: {best: spread/fake, pictures: [{spread: {of: fake, to: image}}]}\n",
        "14:17  metrics.best: spread/fake should be that of real pictures, not less or more; add a figure of which less, or more, is better, such as `frechet`",
    ),
    "report": (
        GAN + "metrics: {report: [accuracy]}\n",
        "14:19  metrics.report: updates that play against each other have no such figure",
    ),
    "early": (
        GAN + "train: {early_stopping: {}}\n",
        "14:25  train.early_stopping: in a game no loss says that it has become better; name a figure of pictures in metrics.best",
    ),
    "at": (
        GAN.replace("target: 0.9}", "target: 0.9, at: [dense7]}"),
        "10:68  updates.judge.minimise[0].at[0]: judge(image) is made by no layer 'dense7'; did you mean 'dense1'? allowed: flatten1, dense1",
    ),
    "over": (
        GAN.replace("{judge: image}", "{network: judge, of: image, over: 3}"),
        "10:68  updates.judge.minimise[0].of.over: image has no 3 parts; its shape is (8, 8, 1)",
    ),
    "size": (
        GAN.replace("{normal: 4}", "{normal: 0}"),
        "6:19  values.noise.size: expected a whole number above 0 or a list (each a whole number above 0), got '0'",
    ),
    "frozen trained": (
        GAN.replace(JUDGE, "  judge: {trainable: false, layers: [flatten, {dense: {units: 1, activation: none}}]}"),
        "9:3  updates.judge.networks[0]: judge is not trainable",
    ),
    "empty layers": (
        GAN.replace("maker: [{dense: 64}, {reshape: [8, 8, 1]}]", "maker: []"),
        "3:10  networks.maker.layers: the list is empty; a model has at least one layer",
    ),
    "null network": (
        GAN.replace("maker: [{dense: 64}, {reshape: [8, 8, 1]}]", "maker:"),
        "3:9  networks.maker: expected settings (inputs, activation, init, statistics, load, trainable, layers), got nothing",
    ),
    "null value": (
        GAN.replace("noise: {normal: 4}", "noise:"),
        "6:9  values.noise: expected a value, got nothing; allowed: value, number, network, one_hot, normal, uniform",
    ),
    "null updates": (
        GAN.replace("  maker:\n    - binary_cross_entropy: {of: {judge: fake}, target: 1}\n", "  maker:\n"),
        "12:9  updates.maker: expected settings (networks, minimise, penalty, optimizer, schedule, clip_norm, every), got nothing",
    ),
    "update word": (
        GAN.split("updates:")[0] + "updates: judge\n",
        "8:10  updates: expected NAME: VALUE pairs (each value settings (networks, minimise, penalty, optimizer, schedule, clip_norm, every)) or null, got 'judge'",
    ),
    "term without loss": (
        GAN.replace("- binary_cross_entropy: {of: {judge: image}, target: 0.9}", "- {of: {judge: image}, target: 0.9}"),
        "10:7  updates.judge.minimise[0]: 'type' is missing; write `type: NAME`; allowed: cross_entropy, binary_cross_entropy, hinge, mse, mae, huber, gram, content, total_variation",
    ),
    "weight": (
        GAN.replace("target: 0.9}", "target: 0.9, weight: -1}"),
        "10:71  updates.judge.minimise[0].binary_cross_entropy.weight: expected a number of at least 0, got '-1'",
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_each_mistake_is_told_with_its_place(what: str) -> None:
    text, *said = MISTAKES[what]
    with pytest.raises(ConfigError) as caught:
        build_model(loads(text, "c.yaml"))
    assert caught.value.problems == [f"c.yaml:{line}" for line in said]


def test_a_block_may_be_a_network() -> None:
    text = GAN.replace("networks:", f"blocks: {{critic: {CRITIC}}}\nnetworks:")
    whole, by_name, with_settings = (
        build_model(loads(t))
        for t in (GAN, text.replace(JUDGE, "  judge: critic"), text.replace(JUDGE, "  judge: {critic: 1}"))
    )
    assert list(whole.parameters) == list(by_name.parameters) == list(with_settings.parameters)


def test_overrides_reach_layers_by_their_network() -> None:
    changes = ["values.noise.normal.size=5", "networks.maker.layers.dense1.init=zeros", "updates.judge.optimizer.lr=3"]
    spec = loads(GAN, overrides=changes)
    assert build_model(spec).parameters["maker.dense1.weight"].shape == (5, 64)
    assert [update.optimizer.settings["lr"] for update in (spec.updates or {}).values()] == [3.0, 0.001]
    assert (spec.networks or {})["maker"].layers[0].settings["init"].type == "zeros"


FILES = [GAN, *(t for t, *_ in MISTAKES.values()), shipped_configs()["digits_gan"].read_text(encoding="utf-8")]
WORDS = """maker judge fake noise image label {judge: {maker: [] {} 3 0.5 null over: then: at: [fake, mse: of: target:
normal {normal: type: values: networks: trainable: every: statistics: critic blocks: [fake,noise]""".split()  # noqa: SIM905


def damaged(seed: int) -> None:
    choose = random.Random(seed)
    text = choose.choice(FILES)
    for _ in range(choose.randint(1, 3)):
        words = text.split(" ")
        words[choose.randrange(len(words))] = choose.choice(WORDS if choose.random() < 0.6 else words)
        text = " ".join(words)
    if choose.random() < 0.5:
        text = mutated(text, choose)
    try:
        spec = loads(text, "m.yaml")
        model, again = build_model(spec), loads(spec.to_yaml())
        assert again.resolved() == spec.resolved()
        assert list(build_model(again).parameters) == list(model.parameters)
    except ConfigError as error:
        assert error.problems and all(problem.startswith("m.yaml") for problem in error.problems)


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_damaged_games_give_success_or_a_config_error(start: int) -> None:
    for seed in range(start, start + 50):
        damaged(seed)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(200, 2200, 250))
def test_many_damaged_games(start: int) -> None:
    for seed in range(start, start + 250):
        damaged(seed)
