"""What a key holder sees of one client: uniform noise, because of the masks and only because of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from fedstyle_secure.errors import FedStyleSecureError
from fedstyle_secure.secure_aggregation import protection
from fedstyle_secure.secure_aggregation.encryption import BlindAdder, KeyHolder
from fedstyle_secure.secure_aggregation.frames import UploadFrame
from fedstyle_secure.secure_aggregation.masking import add_masks, pair_mask
from fedstyle_secure.secure_aggregation.packing import CHECK_WORDS, Layout
from fedstyle_secure.secure_aggregation.vectors import MaskedUpdate, PackedUpdate
from fedstyle_secure.secure_aggregation.wire import Label, MessageKind, read_from_client

NAMES = ("ana", "ben", "cem", "dia")
LABEL = Label("train", 1, b"m" * 32)
LENGTH = 8188 * 8


def opened_alone(world, messages: list[bytes]) -> np.ndarray:
    """The coefficients of some uploads' sum, decrypted with ben's copy of the key."""
    frames = []
    for message in messages:
        _, read = read_from_client(
            message, kinds=[MessageKind.UPLOAD], session=world.session, label=LABEL, payload_limit_bytes=10**8
        )
        frames.append(UploadFrame(read.payload, sender=read.sender))
    layout = Layout.of(frames[0].settings)
    holder = KeyHolder(layout.parameters, world.clients["ben"]._protector._key)
    adder = BlindAdder(layout.parameters)
    blocks = [
        holder.decrypt(adder.add(frame.next_block(block) for frame in frames)) for block in layout.blocks()
    ]
    return np.concatenate(blocks)


def least_p_value(words: np.ndarray, plain_bits: int) -> float:
    """Chi-square test for uniformity of each byte of the coefficients."""
    values = words[:, CHECK_WORDS:].ravel()
    p_values = []
    for shift in range(0, plain_bits - 7, 8):
        counts = np.bincount((values >> np.uint64(shift)).astype(np.int64) & 255, minlength=256)
        p_values.append(float(chisquare(counts).pvalue))
    return min(p_values)


def small_updates(names) -> dict[str, np.ndarray]:
    """Updates as training makes them: small against the limit."""
    rng = np.random.default_rng(3)
    return {name: 0.02 * rng.standard_normal(LENGTH) for name in names}


def remove_colluders_masks(world, words: np.ndarray, honest: str, layout: Layout) -> np.ndarray:
    """Takes off every mask of an honest client that ben or cem know."""
    for block in layout.blocks():
        rows = slice(block.first_ciphertext, block.first_ciphertext + block.ciphertexts)
        masks = [
            pair_mask(
                world.clients[colluder]._pairs[honest].shared_secret,
                session=world.session,
                label=LABEL,
                settings=layout.settings,
                own=colluder,
                peer=honest,
            )
            for colluder in ("ben", "cem")
        ]
        # A colluder's own mask has the opposite sign of the honest client's: adding it takes it off.
        words[rows] = add_masks(PackedUpdate(words[rows]), masks, layout=layout, block=block).words
    return words


@pytest.fixture
def uploaded(new_world, settings):
    """A ready session of four, its settings, and one round of uploads."""
    world = new_world(NAMES).set_up()
    s = settings(LENGTH, cohort_cap=4)
    return world, s, world.upload(small_updates(NAMES), s)


def test_one_clients_masked_vector_is_uniform_for_a_key_holder(uploaded) -> None:
    world, s, uploads = uploaded
    words = opened_alone(world, [uploads["ana"]])
    assert least_p_value(words, Layout.of(s).parameters.plain_bits) > 1e-7


def test_the_same_test_fails_when_masks_are_off(new_world, settings, monkeypatch) -> None:
    monkeypatch.setattr(
        protection, "add_masks", lambda packed, masks, *, layout, block: MaskedUpdate(packed.words)
    )
    world = new_world(NAMES).set_up()
    s = settings(LENGTH, cohort_cap=4)
    uploads = world.upload(small_updates(NAMES), s)
    words = opened_alone(world, [uploads["ana"]])
    assert least_p_value(words, Layout.of(s).parameters.plain_bits) < 1e-100


def test_colluders_learn_the_honest_sum_and_still_see_uniform_vectors(uploaded) -> None:
    world, s, uploads = uploaded
    layout = Layout.of(s)
    both = opened_alone(world, [uploads["ana"], uploads["dia"]])
    for honest in ("ana", "dia"):
        alone = remove_colluders_masks(world, opened_alone(world, [uploads[honest]]), honest, layout)
        assert least_p_value(alone, layout.parameters.plain_bits) > 1e-7
        both = remove_colluders_masks(world, both, honest, layout)
    # The first field of the first ciphertext's slots holds the first values of the vector.
    opened = (both[0, CHECK_WORDS:] & np.uint64(2**layout.field_bits - 1)).astype(float) - 2 * s.steps
    v = small_updates(NAMES)
    honest_sum = (v["ana"] + v["dia"])[: opened.size]
    np.testing.assert_allclose(opened / s.steps_per_unit, honest_sum, atol=2 / s.steps_per_unit)


def test_partial_sums_are_uniform_too(uploaded) -> None:
    world, s, uploads = uploaded
    words = opened_alone(world, [uploads["ana"], uploads["ben"], uploads["cem"]])
    assert least_p_value(words, Layout.of(s).parameters.plain_bits) > 1e-7


def test_two_rounds_of_the_same_vector_share_nothing(new_world, settings) -> None:
    world = new_world(NAMES).set_up()
    s, v = settings(LENGTH, cohort_cap=4), small_updates(NAMES)
    first = opened_alone(world, [world.upload(v, s)["ana"]])
    later = world.upload(v, s, round_number=2)["ana"]
    _, read = read_from_client(
        later, kinds=[MessageKind.UPLOAD], session=world.session, label=None, payload_limit_bytes=10**8
    )
    frame = UploadFrame(read.payload, sender="ana")
    layout = Layout.of(s)
    holder = KeyHolder(layout.parameters, world.clients["ben"]._protector._key)
    second = np.concatenate(
        [
            holder.decrypt(BlindAdder(layout.parameters).add([frame.next_block(block)]))
            for block in layout.blocks()
        ]
    )
    difference = (first - second) & np.uint64(2**layout.parameters.plain_bits - 1)
    assert least_p_value(difference, layout.parameters.plain_bits) > 1e-7


def test_no_error_or_repr_shows_a_secret_or_a_value(new_world, settings) -> None:
    """Provokes refusals of every kind and looks for secrets in what they say."""
    world = new_world().set_up()
    marker = 0.123456789
    v = {name: np.full(10, marker) for name in world.clients}
    said = [repr(part) for part in (world.clients, world.aggregator, world.roster, world.session)]
    uploads = world.upload(v, settings(10))
    secrets = []
    for client in world.clients.values():
        for holder in (client, client._protector):
            said += [repr(part) for part in vars(holder).values() if not isinstance(part, bytes)]
        secrets += [client._protector._key.to_bytes(), client._protector._group_secret]
        secrets += [pair.shared_secret for pair in client._pairs.values()]
        secrets.append(client._session_key._private_key.private_bytes_raw())

    def provoke(call, *arguments, **keywords) -> None:
        with pytest.raises(FedStyleSecureError) as caught:
            call(*arguments, **keywords)
        said.extend([str(caught.value), repr(caught.value), caught.value.message, caught.value.fix])

    ana = world.clients["ana"]
    provoke(world.upload, v, settings(10))
    provoke(world.upload, {n: np.full(10, np.nan) for n in v}, settings(10), round_number=2)
    provoke(world.upload, v, settings(11), round_number=2)
    provoke(ana.open, uploads["ana"])
    provoke(ana.open, b"nonsense")
    provoke(ana.accept_key, b"nonsense")
    provoke(world.aggregator.handle, "upload", uploads | {"ben": uploads["ben"][:-1] + b"x"})
    provoke(world.aggregator.open, uploads["ana"])
    text = "\n".join(said)
    assert "0.1234" not in text
    for secret in secrets:
        for shown in (secret[:6].hex(), repr(secret[:6])[2:-1], str(list(secret[:4]))[1:-1]):
            assert shown not in text
