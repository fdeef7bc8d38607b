from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest
import tenseal.sealapi as seal

from fedstyle_secure.errors import ErrorCode, ProtocolError, SetupError
from fedstyle_secure.secure_aggregation import encryption
from fedstyle_secure.secure_aggregation.coefficients import largest_cut, restore
from fedstyle_secure.secure_aggregation.encryption import KEY_BYTES, BfvKey, KeyHolder, SealedSum
from fedstyle_secure.secure_aggregation.parameters import PARAMETER_SETS, RING_DEGREE, ParameterSet
from fedstyle_secure.secure_aggregation.seal_files import ScratchFile, SealLayout
from fedstyle_secure.secure_aggregation.tenseal_arithmetic import TensealArithmetic
from tests.sealed_sums import random_words, sealed_sum, secret_key

PARAMETERS = PARAMETER_SETS[1]


def words_of(shape: tuple[int, int], *, seed: int = 0, parameters: ParameterSet = PARAMETERS):
    return random_words(shape, parameters=parameters, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("coefficients", [3, 2050, RING_DEGREE])
@pytest.mark.parametrize("ciphertexts", [1, 3, 16, 17])
def test_sums_are_exact_modulo_the_plain_modulus_for_any_shape(ciphertexts: int, coefficients: int) -> None:
    holder = KeyHolder(PARAMETERS, BfvKey.generate())
    masked = [words_of((ciphertexts, coefficients), seed=seed) for seed in range(3)]
    opened = holder.decrypt(sealed_sum((holder.encrypt(m) for m in masked), parameters=PARAMETERS))
    expected = sum(m.words for m in masked) & np.uint64(2**PARAMETERS.plain_bits - 1)
    np.testing.assert_array_equal(opened, expected)


def test_another_clients_copy_of_the_key_opens_the_sum() -> None:
    key, masked = BfvKey.generate(), words_of((1, 100))
    sealed = sealed_sum([KeyHolder(PARAMETERS, key).encrypt(masked)], parameters=PARAMETERS)
    copy = BfvKey.from_bytes(memoryview(key.to_bytes()))
    np.testing.assert_array_equal(KeyHolder(PARAMETERS, copy).decrypt(sealed), masked.words)


@pytest.mark.parametrize("parameters", PARAMETER_SETS, ids=str)
def test_seals_own_decryptor_opens_the_same_words(parameters: ParameterSet) -> None:
    """One key for all sets, and bit for bit what SEAL makes of a sum, noise and cuts included."""
    key = BfvKey(bytes(range(32)))
    holder = KeyHolder(parameters, key)
    masked = [words_of((2, RING_DEGREE), seed=seed, parameters=parameters) for seed in range(4)]
    total = sealed_sum((holder.encrypt(m) for m in masked), parameters=parameters)

    tenseal = TensealArithmetic(parameters)
    decryptor = seal.Decryptor(tenseal.context, secret_key(tenseal, key, parameters))
    c0, c1 = restore(total.c0, parameters.c0_cut_bits), restore(total.c1, parameters.c1_cut_bits)
    for opened, *polynomials in zip(holder.decrypt(total), c0, c1, strict=True):
        plaintext = seal.Plaintext()
        decryptor.decrypt(tenseal.ciphertext(np.stack(polynomials)), plaintext)
        assert [plaintext.data(index) for index in range(RING_DEGREE)] == opened.tolist()


def test_another_key_opens_nothing() -> None:
    masked = words_of((1, RING_DEGREE))
    sealed = sealed_sum([KeyHolder(PARAMETERS, BfvKey.generate()).encrypt(masked)], parameters=PARAMETERS)
    opened = KeyHolder(PARAMETERS, BfvKey.generate()).decrypt(sealed)
    assert (opened == masked.words).mean() < 0.01


def test_encryption_is_randomised() -> None:
    holder = KeyHolder(PARAMETERS, BfvKey.generate())
    masked = words_of((2, 50))
    first, second = holder.encrypt(masked), holder.encrypt(masked)
    assert not np.array_equal(first.c0, second.c0)
    seeds = {bytes(seed) for encrypted in (first, second) for seed in encrypted.seeds}
    assert len(seeds) == 4


def test_a_key_is_derived_as_documented() -> None:
    seed = bytes(range(32))
    stream = hashlib.shake_256(b"fedstyle-secure bfv secret key 1\x00" + seed).digest(8192)
    by_hand = [byte % 3 - 1 for byte in stream if byte != 255][:RING_DEGREE]
    polynomial = BfvKey(seed).secret_polynomial()
    assert polynomial.tolist() == by_hand
    golden = "44f34a93bf25c1d368dc877e66c0dde91a065b7fc7266aed2a4c898d1bca19b6"
    assert hashlib.sha256(polynomial.tobytes()).hexdigest() == golden


def test_coefficients_of_keys_are_uniform_on_three_values() -> None:
    polynomials = np.concatenate([BfvKey.generate().secret_polynomial() for _ in range(100)])
    assert polynomials.size == 100 * RING_DEGREE
    counts = np.bincount(polynomials + 1, minlength=3)
    # Six standard deviations of a binomial count.
    assert np.abs(counts - polynomials.size / 3).max() < 6 * np.sqrt(polynomials.size * 2 / 9)


def test_a_key_looks_like_one_that_seal_has_made() -> None:
    tenseal = TensealArithmetic(PARAMETERS)
    theirs = seal.KeyGenerator(tenseal.context).secret_key()
    ours = secret_key(tenseal, BfvKey.generate(), PARAMETERS)
    assert ours.parms_id() == theirs.parms_id()
    assert ours.data().coeff_count() == theirs.data().coeff_count() == RING_DEGREE
    assert ours.data().is_ntt_form()
    assert theirs.data().is_ntt_form()


@pytest.mark.parametrize("polynomial", ["c0", "c1"])
def test_coefficients_out_of_range_never_reach_seal(polynomial: str, monkeypatch) -> None:
    holder = KeyHolder(PARAMETERS, BfvKey.generate())
    sealed = {
        "c0": np.ones((1, 10), np.uint64),
        "c1": np.ones((1, RING_DEGREE), np.uint64),
    }
    cut_bits = getattr(PARAMETERS, f"{polynomial}_cut_bits")
    sealed[polynomial][0, 5] = largest_cut(cut_bits) + 1
    monkeypatch.setattr(SealLayout, "ciphertext", lambda *_: pytest.fail("SEAL was given the sum"))
    with pytest.raises(ProtocolError) as caught:
        holder.decrypt(SealedSum(**sealed))
    assert caught.value.code is ErrorCode.MESSAGE_MALFORMED


@pytest.mark.parametrize("rows", [[0], [0, 1], [1, 0], [0, 0, 0]])
def test_a_second_polynomial_of_zeros_is_refused(rows: list[int], monkeypatch) -> None:
    """SEAL throws on a product whose polynomials after the first are all zero."""
    holder = KeyHolder(PARAMETERS, BfvKey.generate())
    c1 = np.array(rows, np.uint64)[:, None] * np.ones(RING_DEGREE, np.uint64)
    monkeypatch.setattr(SealLayout, "ciphertext", lambda *_: pytest.fail("SEAL was given the sum"))
    with pytest.raises(ProtocolError) as caught:
        holder.decrypt(SealedSum(np.ones((len(rows), 10), np.uint64), c1))
    assert caught.value.code is ErrorCode.SUM_MISMATCH


@pytest.mark.parametrize("top", [True, False], ids=["largest", "smallest"])
def test_sums_at_the_ends_of_the_range_are_opened_without_a_crash(top: bool) -> None:
    holder = KeyHolder(PARAMETERS, BfvKey.generate())
    c0 = np.full((2, RING_DEGREE), largest_cut(PARAMETERS.c0_cut_bits) if top else 0, np.uint64)
    c1 = np.zeros((2, RING_DEGREE), np.uint64)
    c1[:, -1] = largest_cut(PARAMETERS.c1_cut_bits) if top else 1
    assert holder.decrypt(SealedSum(c0, c1)).max() < 2**PARAMETERS.plain_bits


def test_what_gives_the_key_away_is_wiped_from_the_scratch_files(monkeypatch) -> None:
    """With tenseal alone, where everything goes through files."""
    monkeypatch.setattr(encryption, "fastest_arithmetic", TensealArithmetic)
    wiped = []
    wipe = ScratchFile.wipe
    monkeypatch.setattr(ScratchFile, "wipe", lambda file: (wiped.append(file.read()), wipe(file)))
    holder = KeyHolder(PARAMETERS, BfvKey.generate())
    holder.decrypt(sealed_sum([holder.encrypt(words_of((1, 50)))], parameters=PARAMETERS))
    # The transformed key; the product of the check; the product of the sum. What SEAL saves is compressed,
    # but coefficients modulo q do not get smaller by that.
    assert [len(content) > 7 * RING_DEGREE for content in wiped] == [True] * 3
    assert holder._arithmetic._scratch.read() == b""


@pytest.mark.parametrize("data", [b"", bytes(KEY_BYTES - 1), bytes(KEY_BYTES + 1), bytes(8 * RING_DEGREE)])
def test_bytes_that_are_no_key_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        BfvKey.from_bytes(data)
    assert caught.value.code is ErrorCode.MESSAGE_MALFORMED


def test_keys_and_their_holders_give_nothing_away() -> None:
    key = BfvKey.generate()
    holder = KeyHolder(PARAMETERS, key)
    for secret in (key, holder):
        assert "hidden" in repr(secret)
        assert key.to_bytes().hex() not in repr(secret)
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(secret)


def test_a_seal_that_decrypts_otherwise_is_refused_before_use(monkeypatch) -> None:
    monkeypatch.setattr(encryption, "scale_down", lambda words, _: words)
    with pytest.raises(SetupError) as caught:
        KeyHolder(PARAMETERS, BfvKey.generate())
    assert caught.value.code is ErrorCode.CRYPTOGRAPHY_UNSUPPORTED
