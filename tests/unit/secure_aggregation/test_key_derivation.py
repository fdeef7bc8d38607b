from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fedstyle_secure.secure_aggregation.key_derivation import derive_key, key_stream


def test_the_vector_of_rfc_5869_without_salt_and_info() -> None:
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert derive_key(b"\x0b" * 22, b"", size=42).hex() == expected


def test_the_purpose_goes_into_the_key_as_the_rfc_says() -> None:
    extracted = hmac.digest(bytes(32), b"secret", "sha256")
    assert derive_key(b"secret", b"purpose") == hmac.digest(extracted, b"purpose\x01", hashlib.sha256)
    assert derive_key(b"secret", b"purpose") != derive_key(b"secret", b"purpos")


@pytest.mark.parametrize("first_word", [0, 2, 4096, 2**32, 2**40 + 6])
def test_a_stream_is_aes_over_a_counter_from_any_even_place_on(first_word: int) -> None:
    key, words = b"k" * 32, 6
    blocks = b"".join((first_word // 2 + index).to_bytes(16, "big") for index in range(words // 2))
    ciphered = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks)
    np.testing.assert_array_equal(
        key_stream(key, first_word=first_word, words=words), np.frombuffer(ciphered, "<u8")
    )


def test_parts_of_a_stream_are_parts_of_the_whole() -> None:
    whole = key_stream(b"k" * 32, first_word=0, words=101)
    for first, words in ((0, 1), (2, 99), (50, 7)):
        part = key_stream(b"k" * 32, first_word=first, words=words)
        np.testing.assert_array_equal(part, whole[first : first + words])
    assert not np.array_equal(whole, key_stream(b"l" * 32, first_word=0, words=101))
