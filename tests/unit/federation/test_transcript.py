from fedstyle_secure.federation.transcript import PLATFORM, Transcript


def test_each_party_sees_its_own_messages_only():
    transcript = Transcript()
    transcript.record(stage="upload", sender="ada", recipient=PLATFORM, content=b"abc")
    transcript.record(stage="upload", sender="bo", recipient=PLATFORM, content=b"de")
    transcript.record(stage="upload", sender=PLATFORM, recipient="ada", content=b"f")
    assert [m.size_bytes for m in transcript.seen_by("ada")] == [3, 1]
    assert [m.size_bytes for m in transcript.seen_by("bo")] == [2]
    assert len(transcript.seen_by(PLATFORM)) == 3
    assert transcript.bytes_up("ada") == 3
    assert transcript.bytes_down("ada") == 1
    assert transcript.bytes_down("bo") == 0


def test_content_is_kept_only_on_request():
    for keep, expected in ((True, b"abc"), (False, None)):
        transcript = Transcript(keep_content=keep)
        transcript.record(stage="upload", sender="ada", recipient=PLATFORM, content=b"abc")
        assert transcript.messages[0].content == expected
        assert b"abc" not in repr(transcript.messages[0]).encode()
