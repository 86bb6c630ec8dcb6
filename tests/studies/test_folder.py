"""Folders of studies."""

import pytest

from helpers.messages import one_line
from surefoot.errors import RunError
from surefoot.studies.folder import StudyFolder


def test_a_study_is_found_by_path_and_by_name(tmp_path):
    made = StudyFolder.create(tmp_path, "first", {"kind": "seeds"})
    for text in ("first", str(made.path)):
        assert StudyFolder.open(text, tmp_path).read() == {"kind": "seeds"}
    with pytest.raises(RunError, match="did you mean 'first'"):
        StudyFolder.open("frist", tmp_path)


@pytest.mark.parametrize("content", ["", "[1]", '{"kind": 3}', "{"])
def test_a_damaged_description_is_one_line(tmp_path, content):
    folder = StudyFolder.create(tmp_path, "first", {"kind": "seeds"})
    folder.description.write_text(content)
    with pytest.raises(RunError) as error:
        folder.read()
    one_line(error.value)


def test_a_name_that_leaves_the_root_is_refused(tmp_path):
    with pytest.raises(RunError, match="cannot be called"):
        StudyFolder.create(tmp_path / "studies", "../first", {"kind": "seeds"})
    assert not (tmp_path / "first").exists()


def test_a_second_process_cannot_continue_a_study(tmp_path):
    folder = StudyFolder.create(tmp_path, "first", {"kind": "seeds"})
    with folder.lock(), pytest.raises(RunError, match=r"^study .* is in use by process"), folder.lock():
        pass
