"""Whatever is refused is one line and exit status 2."""

import pytest

from dataset import errors


@pytest.mark.parametrize(
    "error, line",
    [
        (errors.InputError("a.png: is empty"), "a.png: is empty"),
        (FileExistsError(17, "File exists", "out"), "out: file exists"),
        (OSError(28, "No space left on device"), "no space left on device"),
        (MemoryError("Unable to allocate 2.84 PiB"), "Unable to allocate 2.84 PiB"),
    ],
)
def test_one_line_and_status_2(error, line, capsys, monkeypatch):
    def main():
        raise error

    monkeypatch.setattr("sys.argv", ["folder/command.py"])
    monkeypatch.setattr(errors.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as end:
        errors.run(main)
    assert end.value.code == 2 and capsys.readouterr().err == f"command.py: error: {line}\n"
