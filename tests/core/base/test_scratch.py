import numpy as np
import pytest

from napari_spss.core.base import scratch, write_into


@pytest.fixture(params=["memory", "file"])
def zeros(request, monkeypatch):
    if request.param == "file":
        monkeypatch.setattr(scratch, "_IN_MEMORY_BYTES", 0)
    found = scratch.scratch_zeros((3, 50, 70), np.float16)
    assert isinstance(found, np.memmap) == (request.param == "file")
    return found


@pytest.mark.parametrize(
    "here",
    [np.s_[1], np.s_[2, 10:30], np.s_[:, 5:9, 20:60], np.s_[0, ::2], np.s_[1:1], np.s_[...]],
)
def test_values_are_read_where_they_were_written(zeros, here):
    values = np.random.default_rng(0).random(zeros[here].shape).astype(np.float32)
    wanted = np.zeros(zeros.shape, np.float16)
    wanted[here] = values

    write_into(zeros[here], values)

    np.testing.assert_array_equal(zeros, wanted)


def test_what_was_written_stays_beside_what_is_assigned(zeros):
    zeros[0] = 1
    write_into(zeros[1], np.full(zeros[1].shape, 2))
    zeros[1, :10] += 1

    assert (zeros[0] == 1).all()
    assert (zeros[1, :10] == 3).all()
    assert (zeros[1, 10:] == 2).all()
    assert not zeros[2].any()
