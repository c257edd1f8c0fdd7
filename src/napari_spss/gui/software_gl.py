"""A guard of napari's canvas where a processor draws it."""

from __future__ import annotations

from functools import partial

from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QWidget
from vispy.gloo import gl

_RENDERERS = ("llvmpipe", "softpipe", "swr")
_N_ARRAYS = 16  # that any OpenGL has
_GUARDED = "napari-spss guarded"


def outlive_removed_layers(window: QWidget) -> None:
    """Let napari go on after layers were removed; with software OpenGL it died at the next picture.

    vispy leaves arrays of vertices in use that go with a layer. After each picture all are put out
    of use; whoever draws takes those that it needs.
    """
    for canvas in window.findChildren(QOpenGLWidget):
        if not canvas.property(_GUARDED):
            canvas.setProperty(_GUARDED, True)
            canvas.frameSwapped.connect(partial(_forget_arrays, canvas))


def _forget_arrays(canvas: QOpenGLWidget) -> None:
    canvas.makeCurrent()
    if any(name in str(gl.glGetParameter(gl.GL_RENDERER)).lower() for name in _RENDERERS):
        for index in range(_N_ARRAYS):
            gl.glDisableVertexAttribArray(index)
    canvas.doneCurrent()
