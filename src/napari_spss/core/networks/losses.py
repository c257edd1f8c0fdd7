"""Eq. 1-3 of the paper with their literal sums, and their better-behaved kin.

All are pure functions of float32 tensors, differentiable and finite at extreme logits. Maps
``probs`` are (B, C, H, W) with the background first, as :func:`activate` gives them, also for a
network with a single output (two classes). Labels are class indices (B, H, W), -1 where there is
none. Fractions are (B, C), 0-1, NaN where unknown.

References
----------
.. [1] Aysel, Cai and Prügel-Bennett, section 2, Eq. 1-3.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

_TINY = 1e-7  # smallest weight of a region
_DEAD = 1e-30  # smallest predicted fraction; so small that a collapsed map still has a gradient


def activate(logits: torch.Tensor, n_classes: int) -> torch.Tensor:
    """Turn logits into maps: sigmoid for one output, else softmax.

    Parameters
    ----------
    logits : Tensor
        (B, n, H, W), n = 1 for two classes, else n = C.
    n_classes : int
        C, the background included.

    Returns
    -------
    Tensor
        (B, C, H, W), summing to 1 over C. One output p gives the maps (1 - p, p).

    Raises
    ------
    ValueError
        If the number of outputs does not fit the number of classes.
    """
    if logits.shape[1] == 1 and n_classes == 2:
        return torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=1)
    if logits.shape[1] != n_classes:
        raise ValueError(f"{logits.shape[1]} outputs do not fit {n_classes} classes")
    return logits.softmax(dim=1)


def activate_objects(logits: torch.Tensor, n_classes: int) -> torch.Tensor:
    """Maps as `activate` gives them, (B, C - 1, H, W), without that of the background."""
    if logits.shape[1] == 1 and n_classes == 2:
        return logits.sigmoid()
    return activate(logits, n_classes)[:, 1:]


def log_activate(logits: torch.Tensor) -> torch.Tensor:
    """Logarithms of the maps, exact where the maps themselves round to 0 or 1.

    Parameters
    ----------
    logits : Tensor
        (B, n, H, W); n = 1 means two classes.

    Returns
    -------
    Tensor
        (B, C, H, W), at most 0.
    """
    if logits.shape[1] == 1:
        return torch.cat([F.logsigmoid(-logits), F.logsigmoid(logits)], dim=1)
    return logits.log_softmax(dim=1)


def gap(probs: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Predict the proportions by global average pooling.

    Parameters
    ----------
    probs : Tensor
        (B, C, H, W).
    weights : Tensor, optional
        (B, H, W), how much each pixel belongs to the region, 0-1; the whole image by default.

    Returns
    -------
    Tensor
        (B, C). NaN-free: an empty region gives 0.
    """
    if weights is None:
        return probs.mean(dim=(2, 3))
    total = weights.sum(dim=(1, 2)).clamp_min(_TINY)
    return _sums(probs, weights) / total[:, None]


def inside_maps(probs: torch.Tensor, outside: int) -> torch.Tensor:
    """Maps of what counts: 0 for the class outside, the others as they are.

    The gradient cannot move pixels to the outside or back. It is that of ``s q``, where
    ``s = 1 - p_outside`` is held constant and ``q = p / s`` says what a pixel is if it is not
    outside: a softmax without the logit of the class outside.

    Parameters
    ----------
    probs : Tensor
        (..., C, H, W), summing to 1 over C.
    outside : int
        Index of the class that counts in no fraction.

    Returns
    -------
    Tensor
        Of the same shape. Where everything is outside, 0 with a finite gradient.
    """
    is_inside = torch.arange(probs.shape[-3], device=probs.device) != outside
    counting = probs * is_inside[:, None, None]
    share = counting.sum(dim=-3, keepdim=True)
    return counting * (share.detach() / share.clamp_min(_DEAD))


def proportion_mse(
    predicted: torch.Tensor, stated: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Eq. 1: the mean over images of the squared distance of stated and predicted proportions.

    With two classes the paper's network has one output, so that only one of the two (equal)
    squares counts. Unknown fractions are left out of the sum over classes.

    Parameters
    ----------
    predicted, stated : Tensor
        (B, C), a row a region; in the paper a region is an image.
    weights : Tensor, optional
        (B,), weight of each region in the sum; by default all alike, and the mean is taken.

    Returns
    -------
    Tensor
        Scalar.

    Examples
    --------
    >>> import torch
    >>> proportion_mse(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.75, 0.25]]))
    tensor(0.0625)
    """
    is_known = ~stated.isnan()
    squares = torch.where(is_known, predicted - torch.where(is_known, stated, 0.0), 0.0).square()
    # The squares of both classes are equal where both are known: count the larger, not the sum.
    distance = squares.amax(dim=1) if stated.shape[1] == 2 else squares.sum(dim=1)
    return _weighted(distance, weights)


def keypoint_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    r"""Eq. 3: the sum over images and their classes with keypoints of the mean BCE there.

    .. math:: L_{sk} = \sum_i \sum_j \sum_{(m,h) \in \Lambda^{ij}} f_{ij}(m,h) / |\Lambda^{ij}|

    :math:`\Lambda^{ij}` are the (dilated) keypoints of class j in image i, and f is taken in class
    j's own map, where Y* is 1 at them, so that a term is -log Y. Where a network has one output
    for two classes, background keypoints are the set with Y* = 0 in the map of class 1; since the
    background's map is 1 - p, both say the same.

    As printed, it is a sum over images, not a mean, and every set weighs 1, no matter how many
    points it has: one click counts as much as 256 nodes of a grid. See
    :func:`label_cross_entropy`.

    Parameters
    ----------
    logits : Tensor
        (B, n, H, W); n = 1 means two classes.
    target : Tensor
        (B, H, W) int64: the class at each (dilated) keypoint, else -1.

    Returns
    -------
    Tensor
        Scalar; 0 if there are no keypoints.
    """
    cost = -log_activate(logits)
    classes = torch.arange(cost.shape[1], device=target.device)
    is_in_set = target[:, None] == classes[:, None, None]
    sizes = is_in_set.sum(dim=(2, 3)).clamp_min(1)
    return ((cost * is_in_set).sum(dim=(2, 3)) / sizes).sum()


def proportion_kl(
    predicted: torch.Tensor, stated: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Kullback-Leibler divergence of the predicted proportions from the stated ones.

    The unknown classes of a region count as one class, whose fraction is the remainder: nothing is
    asked of how they share it. If one class is known, that is the binary divergence; if all or all
    but one are, the full one. Its gradient at small fractions is that of the logarithm, about ten
    times that of Eq. 1 at 5 %. A stated 0 is exact: what is predicted there costs -log(1 - p).

    Parameters
    ----------
    predicted, stated : Tensor
        (B, C), a row a region.
    weights : Tensor, optional
        (B,), weight of each region in the sum; by default all alike, and the mean is taken.

    Returns
    -------
    Tensor
        Scalar, nats.
    """
    is_known = ~stated.isnan()
    wanted = torch.where(is_known, stated, 0.0)
    rest_wanted = (1 - wanted.sum(dim=1)).clamp_min(0.0)
    rest = torch.where(is_known, 0.0, predicted).sum(dim=1)
    # Where no class is unknown there is no remainder, only rounding; where none is known, no loss.
    rest_wanted = torch.where(is_known.all(dim=1), 0.0, rest_wanted)
    terms = _divergence(wanted, predicted).sum(dim=1) + _divergence(rest_wanted, rest)
    terms = torch.where(is_known.any(dim=1), terms, 0.0)
    return _weighted(terms, weights)


def proportion_interval(
    predicted: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cost of proportions outside their stated intervals; zero, with zero gradient, inside.

    Per class, the binary Kullback-Leibler divergence from the nearest allowed fraction, which is
    :func:`proportion_kl` for two classes and an interval of no width.

    Parameters
    ----------
    predicted : Tensor
        (B, C).
    low, high : Tensor
        (B, C), NaN where a side is open.
    weights : Tensor, optional
        (B,), weight of each region in the sum; by default all alike, and the mean is taken.

    Returns
    -------
    Tensor
        Scalar. With two classes both intervals are read as one of class 1.
    """
    low, high = torch.nan_to_num(low, nan=0.0), torch.nan_to_num(high, nan=1.0)
    # not 1 - predicted, which rounds to 0 where a map is saturated
    is_other = ~torch.eye(predicted.shape[1], dtype=torch.bool, device=predicted.device)
    others = (predicted[:, None] * is_other).sum(dim=2)
    if predicted.shape[1] == 2:
        low_1 = torch.maximum(low[:, 1:], 1 - high[:, :1])
        high_1 = torch.minimum(high[:, 1:], 1 - low[:, :1])
        low, high, predicted, others = low_1, high_1, predicted[:, 1:], others[:, 1:]
    nearest = torch.minimum(torch.maximum(predicted.detach(), low), high)
    outside = _divergence(nearest, predicted) + _divergence(1 - nearest, others)
    terms = torch.where(nearest == predicted, 0.0, outside)
    return _weighted(terms.sum(dim=1), weights)


def label_cross_entropy(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    *,
    normaliser: float,
    errors: torch.Tensor | None = None,
) -> torch.Tensor:
    """Weighted sum of the labels' cross-entropies, divided by a fixed number.

    Unlike Eq. 3, nothing depends on which other labels share the batch: the gradient of a label is
    ``weight / normaliser`` times its own, always.

    Parameters
    ----------
    logits : Tensor
        (B, n, H, W); n = 1 means two classes.
    target : Tensor
        (B, H, W) int64, -1 where there is no label.
    weight : Tensor
        (B, H, W), weight of each label; of no effect where there is none.
    normaliser : float
        A constant of the run.
    errors : Tensor, optional
        (B, H, W), probability e that a label is wrong, which is below 1/2; 0 by default. Instead
        of the map of the label, p, the label's probability enters: (1 - e) p + e (1 - p) / (C - 1),
        since it may stand for any other class (forward correction).

    Returns
    -------
    Tensor
        Scalar.

    References
    ----------
    .. [1] Patrini et al., Making Deep Neural Networks Robust to Label Noise, CVPR 2017.
    """
    is_labelled = target >= 0
    if logits.shape[1] == 1:
        is_object = (target == 1).to(logits.dtype)
        cost = F.binary_cross_entropy_with_logits(logits[:, 0], is_object, reduction="none")
    else:
        cost = F.cross_entropy(logits, target.clamp_min(0), reduction="none")
    if errors is not None:
        right = torch.exp(-cost)
        others = errors / max(1, logits.shape[1] - 1)
        doubted = -torch.log((1 - errors) * right + others * (1 - right) + _DEAD)
        cost = torch.where(errors > 0, doubted, cost)
    return torch.where(is_labelled, cost * weight, 0.0).sum() / normaliser


def dense_loss(
    logits: torch.Tensor, target: torch.Tensor, probs: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean cross-entropy over labelled pixels, plus soft Dice loss.

    Dice is averaged over the classes other than the background. Its sums run over all labelled
    pixels of the batch, with 1 pixel added to both sides of the fraction, so that an empty class
    that is predicted empty costs nothing.

    Parameters
    ----------
    logits : Tensor
        (B, n, H, W); n = 1 means two classes.
    target : Tensor
        (B, H, W) integers, -1 where ignored.
    probs : Tensor, optional
        The maps (B, C, H, W) of these logits, if they are at hand.

    Returns
    -------
    Tensor
        Scalar.
    """
    if probs is None:
        probs = activate(logits.detach(), max(2, logits.shape[1]))
    loss: torch.Tensor = _Dense.apply(logits, probs.detach(), target)  # type: ignore[no-untyped-call]
    return loss


class _Dense(torch.autograd.Function):
    """`dense_loss` with its gradient in closed form, in a fraction of autograd's time."""

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, probs: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        # in place, by numbers: to truth values a processor compares several times as slowly
        target = target.to(probs.dtype, copy=True)
        classes = torch.arange(probs.shape[1], dtype=probs.dtype, device=probs.device)
        is_label = target[:, None].repeat(1, len(classes), 1, 1).eq_(classes[:, None, None])
        is_used = target.ge_(0)
        n_used = is_used.sum().clamp_min(1)
        own = (probs * is_label).sum(dim=1)  # probability of the label
        entropy = -(own.clamp_min(_DEAD).log() * is_used).sum() / n_used
        pairs = (is_label, own), (is_label, is_used), (probs, is_used)
        overlap, size, predicted = (_sums(*pair).sum(dim=0)[1:] for pair in pairs)
        total = size + predicted + 1
        scores = (2 * overlap + 1) / total
        # what a pixel's maps add to the loss, background first, and what more that of its label
        added = F.pad(torch.stack([scores, scores.new_tensor(-2).expand_as(scores)]), (1, 0))
        added[:, 1:] /= total * len(scores)
        ctx.save_for_backward(probs, own, is_used, is_label, added, n_used)
        ctx.n_outputs = logits.shape[1]
        return entropy + (1 - scores).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        probs, own, is_used, is_label, added, n_used = ctx.saved_tensors
        everywhere, of_label = added[:, None]
        pulled = (of_label @ is_label.flatten(2)).view_as(own) * own - 1 / n_used
        # through a softmax: p_c (g_c - sum of p g); one output is the second of two
        mean = pulled + (everywhere @ probs.flatten(2)).view_as(own)
        probs, is_label, everywhere = (
            one[:, -ctx.n_outputs :] for one in (probs, is_label, everywhere)
        )
        found = (everywhere[..., None, None] - mean[:, None]).mul_(probs)
        found.addcmul_(is_label, pulled[:, None])
        return found.mul_((is_used * gradient)[:, None]), None, None


def sharpness(probs: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Penalty on undecided maps: the mean of p (1 - p), between 0 and 0.25.

    Parameters
    ----------
    probs : Tensor
        (B, C, H, W).
    weights : Tensor, optional
        (B, H, W), weight of each pixel in the mean.
    """
    return gap(probs * (1 - probs), weights).mean()


def _sums(probs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted sums (B, C) over the pixels of maps (B, C, H, W)."""
    # one by one: the gradient of a batched product takes several times as long
    return torch.stack(
        [one.flatten(1) @ weight.flatten() for one, weight in zip(probs, weights, strict=True)]
    )


def _divergence(wanted: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """Return wanted * log(wanted / predicted), 0 where nothing is wanted."""
    return torch.xlogy(wanted, wanted) - torch.where(
        wanted > 0, wanted * predicted.clamp_min(_DEAD).log(), 0.0
    )


def _weighted(terms: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    return terms.sum() / terms.shape[0] if weights is None else (terms * weights).sum()
