"""First steps of a newcomer in a real window; run as a program, it says how far it came."""

from __future__ import annotations

import sys

import numpy as np
from eye import button
from hand import Hand, show_settled
from napari import Viewer
from qtpy.QtCore import QEventLoop, Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_spss.gui.dock import SpssDock

N_SLICES, SIZE = 5, 96


def main() -> None:
    """Take all steps, and show all slices after each."""
    viewer = Viewer(show=True)
    image = viewer.add_image(noise((N_SLICES, SIZE, SIZE)), name="em")
    dock, frame = open_dock(viewer)
    hand = Hand(viewer, image)

    place = (2, 0, 0)  # in one slice, as previews are, while others are looked at
    maps = viewer.add_image(noise((1, SIZE, SIZE)) / 255, blending="additive", translate=place)
    labels = viewer.add_labels(image.data[:1] // 200, translate=place)
    done(viewer, "previews shown")
    viewer.dims.set_current_step(0, 0)
    dock.controller.layers.take_away([maps, labels])
    done(viewer, "previews taken away")

    button(dock, "Measure").click()
    hand.drag([(2, 20, 20), (2, 20, 40), (2, 20, 60)])
    assert dock.image.value().object_diameter_px is not None
    done(viewer, "measured")

    for corner in (10, 50):
        button(dock, "Draw rectangle").click()
        z = viewer.dims.current_step[0]
        hand.drag([(z, corner, corner), (z, corner + 15, corner + 15), (z, corner + 30, 40)])
    viewer.camera.zoom = 0.5  # so that a pixel of the screen is several of the image
    hand.click((z, 80, 20))
    viewer.reset_view()
    assert len(dock.annotate.regions.value()) == 2, "a click is no rectangle"
    done(viewer, "rectangles drawn")

    hand.press(Qt.Key.Key_G, Qt.KeyboardModifier.ShiftModifier)
    assert button(dock, "Done").isVisible(), "the key shows the grid's tab"
    button(dock, "Remove").click()
    done(viewer, "grid laid")

    dock.annotate.show_tab(2)
    button(dock, "Add keypoints").click()
    z = viewer.dims.current_step[0]
    hand.click((z, 30, 30))
    hand.click((z, 60, 60))
    button(dock, "Select / move").click()
    hand.click((z, 60, 60))
    assert len(dock.annotate.keypoints.layer.selected_data) == 1
    done(viewer, "keypoints selected")

    viewer.window.remove_dock_widget(frame)
    dock, frame = open_dock(viewer)
    assert len(dock.annotate.regions.value()) == len(dock.annotate.keypoints.value()) == 2
    done(viewer, "dock opened anew")

    flat = viewer.add_image(noise((SIZE, SIZE)), name="flat")
    dock.image.set_layer(flat)
    dock.annotate.regions.start_drawing()
    dock.annotate.keypoints.start_adding()
    done(viewer, "other image")
    dock.image.set_layer(image)
    assert len(dock.annotate.regions.value()) == len(dock.annotate.keypoints.value()) == 2
    done(viewer, "first image again")

    image.data = noise((SIZE, SIZE))
    done(viewer, "pixels of other axes")
    dock.shut_down()
    viewer.close()
    sys.stdout.write("lives\n")


def noise(shape: tuple[int, ...]) -> np.ndarray:
    """Draw an image."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def open_dock(viewer: Viewer):
    """Open the dock as napari does."""
    dock = SpssDock(viewer, is_probing=False)
    frame = viewer.window.add_dock_widget(dock, name="Semantic Proportions")
    show_settled(viewer)
    return dock, frame


def done(viewer: Viewer, what: str) -> None:
    """Show every slice, and let each be drawn."""
    QApplication.processEvents()
    for z in (*range(N_SLICES), 2):
        viewer.dims.set_current_step(0, z)
        loop = QEventLoop()
        QTimer.singleShot(60, loop.quit)
        loop.exec()
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
