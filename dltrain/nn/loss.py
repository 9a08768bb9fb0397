"""Losses as a config names them."""

from collections.abc import Callable
from typing import Any

from dltrain import ops
from dltrain.backend import array_module
from dltrain.engine import Tensor
from dltrain.registry import Positive, Rate, Registry

Array = Any
LOSSES = Registry("loss")


class Loss:
    """Called with (output, targets, count): the sum over the examples at hand, divided by `count`, that of the batch.

    classification: a target is the number of the right class, and `logits` of the output has a number for each.
    multilabel: a target says of each label whether it is right, and the sigmoid of an output is how probable that is.
    entropy: the loss is -log of a probability, so that whoever knows only how frequent the classes are has their
    entropy as loss.
    weighable: whether an example can count more than another: whether `weights` is made use of.
    of_pictures: whether it judges (H, W, C), in an update. has_target: whether it compares them with something.
    class_weights: how much an example of each class counts, (C,) on the device; None where all count the same.
    """

    classification: bool
    multilabel = False
    entropy = False
    weighable = False
    of_pictures = False
    has_target = True
    class_weights: Array | None = None

    def __init__(self) -> None:
        """Without settings, as long as a subclass names none."""

    def weights(self, targets: Array) -> Array | None:
        """How much each of these examples counts, (N,); None where all count the same."""
        return None if self.class_weights is None else self.class_weights[targets]

    def count(self, targets: Array) -> Array:
        """What makes a mean over these examples of their sum: how many they are, or the sum of their weights."""
        one_each = targets.size if self.classification else len(targets)  # of a sequence one at each position
        return one_each if self.class_weights is None else self.class_weights[targets].sum()

    def outputs(self, classes: int) -> int | None:
        """How many numbers the network must give to tell so many classes apart; None where this loss cannot."""
        return classes

    def logits(self, output: Array) -> Array:
        """(N, classes): the largest is the network's answer, and softmax makes probabilities of them."""
        return output

    def for_labels(self) -> "Loss | None":
        """This loss where several classes may be right; None where it is for one alone."""
        return None

    def for_numbers(self) -> "Loss | None":
        """This loss where the target is a number for each that the network gives, or one for all; None where it wants
        classes."""
        return self.for_labels() if self.classification else self

    def __call__(self, output: Tensor, targets: Array, count: Array) -> Tensor:
        raise NotImplementedError


@LOSSES.register("cross_entropy")
class CrossEntropy(Loss):
    """-log of the probability that softmax of the output gives to the right class."""

    classification = entropy = weighable = True

    def __init__(self, *, label_smoothing: Rate = 0.0):
        self.label_smoothing = label_smoothing

    def __call__(self, output: Tensor, targets: Array, count: Array) -> Tensor:
        y: Tensor = ops.cross_entropy(
            output,
            targets=targets,
            count=count,
            label_smoothing=self.label_smoothing,
            weights=self.weights(targets),
        )
        return y


@LOSSES.register("binary_cross_entropy")
class BinaryCrossEntropy(Loss):
    """For two classes and a network with one output, whose sigmoid is the probability of the second class; or for
    labels of which several may be right, with an output for each: the mean over the labels."""

    classification = entropy = weighable = True

    def outputs(self, classes: int) -> int | None:
        return 1 if classes == 2 else None

    def for_labels(self) -> Loss:
        return LabelsCrossEntropy()

    def logits(self, output: Array) -> Array:
        return array_module(output).concatenate([output * 0, output], axis=1)  # softmax of (0, z) is sigmoid of z

    def __call__(self, output: Tensor, targets: Array, count: Array) -> Tensor:
        y: Tensor = ops.binary_cross_entropy(output, targets=targets, count=count, weights=self.weights(targets))
        return y


@LOSSES.register("hinge")
class Hinge(Loss):
    """C times what is missing until the right class leads every other one by 1.

    With one dense layer and `penalty: {l2: 0.5}` this is the linear support vector machine of Weston and Watkins: the
    loss is ‖w‖² / 2 + C · mean error. For two classes it has a score for each, so C weighs twice what it does in a
    machine with one: the difference of their weights is what scikit-learn's SVC(kernel="linear") finds with C = 2C / N,
    N the number of examples (so does LinearSVC without an intercept, which it penalises). Its scores are no logits:
    the probabilities made of them only keep their order.
    """

    classification = weighable = True

    def __init__(self, *, C: Positive = 1.0):
        self.C = C

    def __call__(self, output: Tensor, targets: Array, count: Array) -> Tensor:
        y: Tensor = ops.hinge(output, targets=targets, count=count, weights=self.weights(targets)) * self.C
        return y


class _Regression(Loss):
    """An op on numbers and those that were wanted. settings: those of the op."""

    classification = False
    function: Callable[..., Any]

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}

    def __call__(self, output: Tensor, targets: Array, count: Array) -> Tensor:
        y: Tensor = type(self).function(output, targets=targets, count=count, **self.settings)
        return y


class LabelsCrossEntropy(_Regression):
    """binary_cross_entropy of labels of which several may be right."""

    multilabel = True
    function = staticmethod(ops.labels_cross_entropy)


@LOSSES.register("mse")
class MeanSquaredError(_Regression):
    """The mean of (output - target)² over examples and numbers."""

    function = staticmethod(ops.mse)


@LOSSES.register("mae")
class MeanAbsoluteError(_Regression):
    """The mean of |output - target| over examples and numbers: outliers count no more than they are far."""

    function = staticmethod(ops.mae)


@LOSSES.register("huber")
class Huber(_Regression):
    """Half the squared error up to `delta`, and beyond it a line with the slope that it has there."""

    function = staticmethod(ops.huber)

    def __init__(self, *, delta: Positive = 1.0):
        self.settings = {"delta": delta}


@LOSSES.register("gram")
class Gram(_Regression):
    """How far the texture is from the target's: ‖G - G'‖² / ‖G'‖² of the Gram matrices, which say what channels are
    active together, wherever that is. Of what a trained network sees with `at` it is the style of a picture.

    Gatys, Ecker, Bethge, "Image Style Transfer Using Convolutional Neural Networks", 2016.
    """

    of_pictures = True
    function = staticmethod(ops.gram)


@LOSSES.register("content")
class Content(_Regression):
    """How far it is from the target, ‖x - t‖² / ‖t‖²; of what a trained network sees with `at`: how much of what a
    picture shows has changed. The same paper.
    """

    of_pictures = True
    function = staticmethod(ops.content)


@LOSSES.register("total_variation")
class TotalVariation(Loss):
    """How rough a picture is: the mean squared difference of neighbouring pixels. It takes no target."""

    classification = False
    of_pictures = True
    has_target = False

    def __call__(self, output: Tensor, targets: Array, count: Array) -> Tensor:
        y: Tensor = ops.total_variation(output, count=count)
        return y
