import pytest

from fedstyle_secure.errors import ErrorCode, ProtocolError
from fedstyle_secure.federation.transcript import PLATFORM, Transcript
from fedstyle_secure.federation.transport import EmbeddedTransport
from tests.secure_sums import make_world


@pytest.fixture
def world():
    return make_world(["ada", "bo", "cy"], slots=1)


def test_an_exchange_is_that_of_the_aggregator_and_goes_on_record_in_both_directions(world):
    transcript = Transcript(keep_content=True)
    transport = EmbeddedTransport(world.aggregator, transcript)
    messages = world.advertise(["ada", "cy"])
    answers = transport.exchange("advertise", messages)
    assert list(answers) == ["ada", "cy"]
    assert [(m.stage, m.sender, m.recipient, m.content) for m in transcript.messages] == [
        ("advertise", "ada", PLATFORM, messages["ada"]),
        ("advertise", "cy", PLATFORM, messages["cy"]),
        ("advertise", PLATFORM, "ada", answers["ada"]),
        ("advertise", PLATFORM, "cy", answers["cy"]),
    ]
    transport.exchange("share", world.share(answers))
    assert world.aggregator.stage == "agree"


def test_what_the_aggregator_refuses_was_seen_by_it_all_the_same(world):
    transcript = Transcript()
    transport = EmbeddedTransport(world.aggregator, transcript)
    with pytest.raises(ProtocolError) as refused:
        transport.exchange("advertise", {"ada": b"nonsense"})
    assert refused.value.code is ErrorCode.MESSAGE_MALFORMED
    assert [(m.sender, m.size_bytes) for m in transcript.messages] == [("ada", 8)]
