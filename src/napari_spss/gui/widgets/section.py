"""A part of the dock that can be folded away."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy, QToolButton, QWidget

from .parts import fill_column


class Section(QWidget):
    """A header that shows and hides what is below it.

    superqt's QCollapsible fixes the height of its content when it opens; ours changes its height
    while it is open (curves, messages, another tab), hence this plain one.

    Parameters
    ----------
    title : str
        What stands in the header.
    content : QWidget
        What is folded away.
    is_open : bool
        Whether it is shown at first.
    is_main : bool
        Whether the header stands out.
    """

    def __init__(
        self, title: str, content: QWidget, *, is_open: bool = True, is_main: bool = False
    ) -> None:
        super().__init__()
        self._content = content
        self.header = QToolButton()
        self.header.setText(title)
        self.header.setCheckable(True)
        self.header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.header.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.header.setStyleSheet(
            "QToolButton { text-align: left; background: transparent; border: none; padding: 3px;"
            + (" font-weight: bold; }" if is_main else " }")
        )
        self.header.toggled.connect(self._show)
        layout = fill_column(self, self.header, content)
        layout.setContentsMargins(0, 0, 0, 6 if is_main else 0)
        layout.setSpacing(2)
        self.header.setChecked(is_open)
        self._show(is_open)

    @property
    def is_open(self) -> bool:
        """Whether the content is shown."""
        return self.header.isChecked()

    def open(self) -> None:
        """Show the content."""
        self.header.setChecked(True)

    def close_up(self) -> None:
        """Fold the content away."""
        self.header.setChecked(False)

    def _show(self, is_open: bool) -> None:
        self._content.setVisible(is_open)
        self.header.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
