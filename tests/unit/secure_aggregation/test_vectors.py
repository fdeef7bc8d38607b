from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest

from fedstyle_secure.errors import ErrorCode, UsageError
from fedstyle_secure.secure_aggregation import vectors
from fedstyle_secure.secure_aggregation.vectors import EncryptedUpdate, LocalUpdate


def test_clip_shortens_long_vectors_and_leaves_short_ones_alone() -> None:
    assert np.linalg.norm(LocalUpdate(np.array([3.0, 4.0])).clip(norm_l2=1.0).values) == pytest.approx(1.0)
    short = np.array([0.3, 0.4])
    assert LocalUpdate(short).clip(norm_l2=1.0).values is short


@pytest.mark.parametrize("norm_l2", [0.0, -1.0, float("nan"), float("inf")])
def test_a_clip_that_bounds_nothing_is_refused(norm_l2: float) -> None:
    with pytest.raises(UsageError) as caught:
        LocalUpdate(np.ones(2)).clip(norm_l2=norm_l2)
    assert caught.value.code is ErrorCode.SUM_SETTINGS_INVALID


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_diverged_update_is_refused(bad: float) -> None:
    with pytest.raises(UsageError) as caught:
        LocalUpdate(np.array([0.0, bad])).clip(norm_l2=1.0)
    assert caught.value.code is ErrorCode.UPDATE_NOT_FINITE


@pytest.mark.usefixtures("without_type_checks")
def test_states_print_sizes_and_no_values() -> None:
    for name in vectors.__all__:
        state = getattr(vectors, name)
        arrays = {field.name: np.full((2, 3), 424242) for field in dataclasses.fields(state)}
        shown = repr(state(**arrays))
        assert "424242" not in shown
        assert "(2, 3)" in shown


def test_only_the_encrypted_state_is_accepted_by_what_writes_uploads() -> None:
    from fedstyle_secure.secure_aggregation import frames

    annotation = inspect.signature(frames.write_upload_block).parameters["encrypted"].annotation
    assert annotation in ("EncryptedUpdate", EncryptedUpdate)
