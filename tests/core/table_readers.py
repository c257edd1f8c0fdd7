"""Readers of one table of annotations each, and slices that they may speak of."""

from __future__ import annotations

from napari_spss.core.annotations import read_annotations


class Stack:
    """Stands for ``n_slices`` slices of 10 x 20 px."""

    def __init__(self, n_slices=3):
        self.n_slices = n_slices

    def shape_of(self, z):
        assert 0 <= z < self.n_slices
        return 10, 20


def read_proportions(path, **options):
    return read_annotations(proportions=path, **options)


def read_keypoints(path, **options):
    return read_annotations(keypoints=path, **options)


def read_grid(path, **options):
    return read_annotations(grid=path, **options)
