"""`run`, `search` and `demo` as a user types them, with good and with bad input."""

from __future__ import annotations

import json
import os
import struct
import threading
import zlib

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fedstyle_secure.artworks.atelier import paint_atelier, write_atelier
from fedstyle_secure.cli.main import main


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("painted")
    write_atelier(paint_atelier(artists=4, works=8, seed=3), folder / "artworks")
    return folder / "artworks"


@pytest.fixture
def artworks(painted, tmp_path):
    """A copy that a test may spoil."""
    copy = tmp_path / "artworks"
    for file in painted.rglob("*.png"):
        target = copy / file.relative_to(painted)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    return copy


@pytest.fixture
def policy_file(policy_text, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(policy_text())
    return path


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def run_json(policy_file, artworks, out, *more):
    result = call("run", policy_file, "--artworks", artworks, "--out", out, "--json", *more)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), result.stderr


def assert_refused(result, code, exit_code):
    assert result.exit_code == exit_code
    error = json.loads(result.stdout)["error"]
    assert error["code"] == code
    assert error["message"]
    assert error["fix"]
    assert code in result.stderr


def first_file(artworks):
    return sorted(sorted(artworks.iterdir())[0].iterdir())[0]


def test_the_json_of_a_run_has_its_promised_form(policy_file, artworks, tmp_path):
    result, _ = run_json(policy_file, artworks, tmp_path / "run", "--evaluate")
    assert {"epsilon", "delta", "unit", "neighbouring", "adversary"} <= set(result["guarantee"])
    assert result["guarantee"]["epsilon"] <= 8.0
    assert [entry["round"] for entry in result["rounds"]] == [1, 2, 3]
    for entry in result["rounds"]:
        assert set(entry) >= {
            "round",
            "cohort",
            "bytes_up_per_artist",
            "bytes_down_per_artist",
            "seconds",
            "epsilon_so_far",
        }
        assert entry["cohort"] == 4
        assert entry["bytes_up_per_artist"] > 0
        assert set(entry["seconds"]) == {"release", "protect", "aggregate", "agree", "unmask", "open"}
    assert set(result["quality"]) == {"private", "without_noise", "frozen", "colour", "chance"}
    for score in result["quality"].values():
        assert set(score) == {"macro_top1", "macro_top1_se", "mrr"}
    assert result["quality"]["chance"]["macro_top1"] == 0.25
    assert result["quality"]["without_noise"]["macro_top1"] > 0.25
    assert "No guarantee covers" in result["evaluation_note"]


def test_without_evaluate_nothing_is_held_out_and_no_quality_is_printed(policy_file, artworks, tmp_path):
    result, _ = run_json(policy_file, artworks, tmp_path / "run")
    assert "quality" not in result
    assert json.loads((tmp_path / "run" / "private" / "result.json").read_text()) == result


def test_search_ranks_all_artists(policy_file, artworks, tmp_path):
    run_json(policy_file, artworks, tmp_path / "run")
    found = call("search", tmp_path / "run", first_file(artworks), "--top", 4, "--json")
    assert found.exit_code == 0, found.stderr
    matches = json.loads(found.stdout)["matches"]
    assert sorted(match["artist"] for match in matches) == sorted(
        folder.name for folder in artworks.iterdir()
    )
    assert [match["rank"] for match in matches] == [1, 2, 3, 4]
    scores = [match["score"] for match in matches]
    assert scores == sorted(scores, reverse=True)


def test_nothing_private_is_written_outside_the_folder_private(policy_file, artworks, tmp_path):
    artist = sorted(artworks.iterdir())[0]
    (artist / "secret-commission.jpg").write_text("no picture")
    result, said = run_json(policy_file, artworks, tmp_path / "run", "--evaluate")
    assert "secret-commission.jpg" in said
    assert result["quality"]
    everything = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in everything)
    assert (tmp_path / "run" / "private").stat().st_mode & 0o077 == 0
    public = [path for path in everything if "private" not in path.relative_to(tmp_path / "run").parts]
    written = b"".join(path.read_bytes() for path in public)
    fingerprint = (tmp_path / "run" / "private" / "artworks.sha256").read_bytes()
    for secret in (b"secret-commission", b"macro_top1", b"Frozen public", fingerprint, b"PRIVATE KEY"):
        assert secret not in written
    for file in artworks.rglob("*.png"):
        assert file.name.encode() not in written
        pixels = np.asarray(Image.open(file)).tobytes()
        assert not any(pixels[5000:5032] in path.read_bytes() for path in everything)
    assert sorted(path.name for path in public if not path.name.startswith("style-index")) == [
        "manifest.json",
        "policy.yaml",
        "report.html",
        "result.json",
        "state.safetensors",
    ]
    measured = (tmp_path / "run" / "private" / "report.html").read_text()
    assert "Frozen public" in measured
    assert "secret-commission.jpg" in measured


def test_resuming_a_finished_run_gives_the_same_result(policy_file, artworks, tmp_path):
    first, _ = run_json(policy_file, artworks, tmp_path / "run")
    again, _ = run_json(policy_file, artworks, tmp_path / "run", "--resume")
    assert again == first


def test_a_missing_folder_is_refused(policy_file, tmp_path):
    result = call("run", policy_file, "--artworks", tmp_path / "nowhere", "--out", tmp_path / "run", "--json")
    assert_refused(result, "artworks-folder-missing", 2)
    assert not (tmp_path / "run").exists()


def test_a_missing_policy_is_refused(artworks, tmp_path):
    result = call("run", tmp_path / "none.yaml", "--artworks", artworks, "--out", tmp_path / "run", "--json")
    assert_refused(result, "policy-unreadable", 2)
    assert not (tmp_path / "run").exists()


def test_a_policy_with_mistakes_is_refused_with_all_of_them(artworks, tmp_path, policy_text):
    text = (
        policy_text()
        .replace("epsilon: 8.0", "epsilon: -1\n  epsilom: 8")
        .replace("rounds: 3", "rounds: many")
    )
    (tmp_path / "policy.yaml").write_text(text)
    result = call(
        "run", tmp_path / "policy.yaml", "--artworks", artworks, "--out", tmp_path / "run", "--json"
    )
    assert_refused(result, "policy-invalid", 2)
    for key in ("privacy.epsilon", "epsilom", "federation.rounds"):
        assert key in result.stderr
    assert not (tmp_path / "run").exists()


def test_distributed_noise_is_refused_by_name(artworks, tmp_path, policy_text):
    (tmp_path / "policy.yaml").write_text(policy_text(privacy__noise="distributed"))
    result = call(
        "run", tmp_path / "policy.yaml", "--artworks", artworks, "--out", tmp_path / "run", "--json"
    )
    assert_refused(result, "policy-not-yet-supported", 2)
    assert "distributed" in result.stderr
    assert not (tmp_path / "run").exists()


def huge_png_header():
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize(
    "content", [b"", b"I am a letter, not a picture.", huge_png_header()], ids=["empty", "text", "bomb"]
)
def test_a_bad_file_is_named_and_left_out(policy_file, artworks, tmp_path, content):
    artist = sorted(artworks.iterdir())[0]
    (artist / "broken.jpg").write_bytes(content)
    result, said = run_json(policy_file, artworks, tmp_path / "run")
    assert any(n["artist"] == artist.name and n["file"] == "broken.jpg" for n in result["notices"])
    assert "broken.jpg" in said
    assert len(result["artists"]) == 4


def test_an_artist_without_a_readable_work_is_named_and_left_out(policy_file, artworks, tmp_path):
    (artworks / "silent").mkdir()
    (artworks / "silent" / "a.jpg").write_bytes(b"")
    result, said = run_json(policy_file, artworks, tmp_path / "run")
    assert "silent" not in result["artists"]
    assert "silent" in said


def test_too_few_artists_with_readable_works_are_refused(policy_file, artworks, tmp_path):
    for artist in sorted(artworks.iterdir())[:2]:
        for file in artist.iterdir():
            file.write_bytes(b"")
    result = call("run", policy_file, "--artworks", artworks, "--out", tmp_path / "run", "--json")
    assert_refused(result, "artworks-too-few-artists", 2)
    assert not (tmp_path / "run").exists()


def test_an_output_that_cannot_be_a_folder_is_refused(policy_file, artworks, tmp_path):
    (tmp_path / "file").write_text("mine")
    result = call("run", policy_file, "--artworks", artworks, "--out", tmp_path / "file" / "run", "--json")
    assert_refused(result, "output-not-writable", 5)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_in_use_is_not_overwritten(policy_file, artworks, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "diary.txt").write_text("mine")
    result = call("run", policy_file, "--artworks", artworks, "--out", tmp_path / "run", "--json")
    assert_refused(result, "run-folder-exists", 2)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["diary.txt"]


def test_resuming_under_another_policy_is_refused(policy_file, artworks, tmp_path, policy_text):
    run_json(policy_file, artworks, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    policy_file.write_text(policy_text(privacy__epsilon=4.0))
    result = call("run", policy_file, "--artworks", artworks, "--out", tmp_path / "run", "--resume", "--json")
    assert_refused(result, "run-folder-other-policy", 2)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_resuming_with_other_artworks_is_refused(policy_file, artworks, tmp_path):
    run_json(policy_file, artworks, tmp_path / "run")
    first_file(artworks).unlink()
    result = call("run", policy_file, "--artworks", artworks, "--out", tmp_path / "run", "--resume", "--json")
    assert_refused(result, "run-folder-other-artworks", 2)


def test_resuming_where_there_is_no_run_is_refused(policy_file, artworks, tmp_path):
    result = call("run", policy_file, "--artworks", artworks, "--out", tmp_path / "run", "--resume", "--json")
    assert_refused(result, "run-folder-invalid", 2)
    assert not (tmp_path / "run").exists()


def test_searching_in_a_folder_that_is_no_run_is_refused(artworks, tmp_path):
    assert_refused(call("search", tmp_path, first_file(artworks), "--json"), "run-folder-invalid", 2)


def test_searching_with_something_that_is_no_image_is_refused(policy_file, artworks, tmp_path):
    run_json(policy_file, artworks, tmp_path / "run")
    (tmp_path / "letter.jpg").write_text("I am a letter.")
    result = call("search", tmp_path / "run", tmp_path / "letter.jpg", "--json")
    assert_refused(result, "artwork-unreadable", 2)


def test_searching_in_a_tampered_index_is_refused(policy_file, artworks, tmp_path):
    run_json(policy_file, artworks, tmp_path / "run")
    [tensors] = (tmp_path / "run").glob("style-index-*.safetensors")
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    assert_refused(call("search", tmp_path / "run", first_file(artworks), "--json"), "run-folder-invalid", 2)


def test_the_demo_shows_everything_and_can_be_searched(tmp_path):
    out = tmp_path / "demo"
    result = call("demo", "--artists", 3, "--works", 8, "--out", out)
    assert result.exit_code == 0, result.stderr
    for words in ("What is promised", "each artist sent", "Chance", "Three searches"):
        assert words in result.stdout
    assert "round 1/40" in result.stderr
    html = (out / "report.html").read_text()
    assert html.count("data:image/png") >= 3 * 2
    assert "This page holds pictures of artworks" not in html  # nobody's works: the program painted them
    work = first_file(out / "artworks")
    found = call("search", out / "run", work, "--json")
    assert found.exit_code == 0, found.stderr
    again = call("demo", "--out", out, "--json")
    assert_refused(again, "run-folder-exists", 2)


@pytest.mark.slow
def test_the_same_seed_paints_the_same_demo(tmp_path):
    first, second, other = (
        call(
            "demo",
            "--artists",
            3,
            "--works",
            6,
            "--seed",
            seed,
            "--out",
            tmp_path / name,
            "--json",
            "--quiet",
        )
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    a, b, c = (json.loads(result.stdout) for result in (first, second, other))
    for key in ("without_noise", "frozen", "colour", "chance"):
        assert a["quality"][key] == b["quality"][key], key
    assert a["searches"][0]["matches"] != b["searches"][0]["matches"], "two runs drew the same noise"
    assert (
        a["quality"]["frozen"] != c["quality"]["frozen"] or a["quality"]["colour"] != c["quality"]["colour"]
    )


def test_a_grid_coarser_than_the_noise_is_refused_before_anything_is_spent(artworks, tmp_path, policy_text):
    (tmp_path / "policy.yaml").write_text(policy_text(secure_aggregation__value_bits=8))
    result = call(
        "run", tmp_path / "policy.yaml", "--artworks", artworks, "--out", tmp_path / "run", "--json"
    )
    assert_refused(result, "policy-grid-too-coarse", 2)
    assert not (tmp_path / "run").exists()


def test_a_name_that_cannot_stand_on_a_roster_is_refused_before_anything_is_written(
    policy_file, artworks, tmp_path
):
    sorted(artworks.iterdir())[0].rename(artworks / ("a" * 200))
    result = call("run", policy_file, "--artworks", artworks, "--out", tmp_path / "run", "--json")
    assert_refused(result, "artist-name-invalid", 2)
    assert not (tmp_path / "run").exists()


def test_a_run_killed_before_its_manifest_can_be_begun_again(policy_file, artworks, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "policy.yaml").write_text("half")
    (tmp_path / "run" / ".manifest.json.part").write_text("{")
    run_json(policy_file, artworks, tmp_path / "run")


def test_a_policy_from_a_pipe_is_kept_as_it_was_read(artworks, tmp_path, policy_text):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(policy_text(),))
    writer.start()
    run_json(pipe, artworks, tmp_path / "run")
    writer.join()
    assert (tmp_path / "run" / "policy.yaml").read_text() == policy_text()
