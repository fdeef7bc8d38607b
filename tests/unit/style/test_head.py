"""The trained head."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from fedstyle_secure.style.head import StyleHead


def test_an_untrained_head_changes_no_direction() -> None:
    rows = torch.randn(7, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(StyleHead(16)(rows), F.normalize(rows, dim=1))


def test_the_only_parameter_is_one_square_matrix() -> None:
    assert [tuple(parameter.shape) for parameter in StyleHead(8).parameters()] == [(8, 8)]


def test_a_row_of_the_output_depends_on_that_row_alone() -> None:
    head = StyleHead(8)
    with torch.no_grad():
        head.linear.weight.add_(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))
    rows = torch.randn(5, 8, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(torch.cat([head(row[None]) for row in rows]), head(rows))


def test_an_empty_batch_and_a_row_of_zeros_are_no_problem() -> None:
    assert StyleHead(4)(torch.zeros(0, 4)).shape == (0, 4)
    assert torch.equal(StyleHead(4)(torch.zeros(1, 4)), torch.zeros(1, 4))
