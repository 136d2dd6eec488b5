# SPDX-License-Identifier: Apache-2.0
"""Streams that are closed, full or read no longer, terminals of few characters, and messages of one line."""

import os
import subprocess
import sys

import pytest
import torch
from ldie import commands, console
from ldie.cli import main
from ldie.errors import DataError, UserError

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHON": sys.executable}
PRINT = ["train", "centernet", "--print-config"]


def run(code, shell="{}", **environment):
    """Python code in a process of its own, whose streams ``shell`` redirects."""
    command = shell.format('"$PYTHON" -c "$CODE"')
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**ENVIRONMENT, "CODE": code, **environment},
    )


def test_streams_that_were_closed_lead_nowhere(tmp_path):
    code = (
        "import os, sys; from ldie import console; console.prepare_streams()\n"
        f"file = open({str(tmp_path / 'file')!r}, 'w'); assert file.fileno() > 2\n"
        "print('to nobody'); print('to nobody', file=sys.stderr); os.write(1, b'native'); os.write(2, b'native')"
    )
    done = run(code, "{} <&- >&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("shell", ["{} | true", "{} 2>&- | true"])
def test_a_reader_that_has_gone_ends_a_command_silently(shell):
    done = run(f"import sys; from ldie.cli import main; sys.exit(main({PRINT}))", shell)
    assert (done.returncode, done.stdout, done.stderr) == (141, "", "")


def test_a_broken_pipe_has_the_code_of_shells(monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", os.fdopen(writer, "w"))
        assert main(PRINT) == 141
        print("leads nowhere now", flush=True)
    assert capsys.readouterr() == ("", "")


def test_a_full_disk_behind_stdout_is_said(monkeypatch, capsys):
    class Full:
        def write(self, text):
            return len(text)

        def flush(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(SystemExit) as caught:
        main(PRINT)
    assert caught.value.code == 1
    line = "ldie: stdout cannot be written (No space left on device); free space or print elsewhere\n"
    assert capsys.readouterr().err == line


def test_characters_that_the_terminal_lacks_are_escaped():
    code = r"from ldie import console; console.prepare_streams(); print('caf\xe9 \u65e5 \udce9')"
    done = run(code, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stdout) == (0, "caf\\xe9 \\u65e5 \\udce9\n"), done.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two\nlines\tand  spaces ", "two lines and spaces"),
        ("\x1b[31mred \0", r"\x1b[31mred \x00"),
        ("caf\xe9 \u65e5\u672c \udce9", "caf\xe9 \u65e5\u672c \\udce9"),
        ("a" * 240, "a" * 240),
        (f"{'a' * 2000}{'b' * 3000}: no such file", f"{'a' * 120}...{'b' * 59}: no such file"),
    ],
)
def test_messages_are_one_line(text, expected):
    assert console.printable(text) == expected


def test_messages_have_an_end():
    text = console.printable("word " * 5000)
    assert len(text) < 2000 and text.startswith("word word") and text.endswith("word word")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(28, "No space left on device"), "No space left on device; free space or choose another folder"),
        (OSError(28, "No space left on device", "a.png"), "a.png: No space left on device; free space"),
        (OSError(36, "File name too long", "nnn"), "nnn: File name too long; use a shorter name"),
        (OSError(24, "Too many open files"), "Too many open files; raise the limit"),
        (PermissionError(13, "Permission denied", "x"), "x: Permission denied; check the path"),
        (OSError("broken data stream"), "broken data stream; check"),
        (MemoryError(), "out of memory (not enough to go on); lower the batch size"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out of memory ([enforce fail]"),
        (RuntimeError("rle_decode: not enough memory"), "out of memory (rle_decode: not enough memory); lower"),
        (torch.OutOfMemoryError("CUDA out of memory"), "the GPU is out of memory; lower solver.batch_size"),
        (RuntimeError("[gloo/pair.cc:1] Connection closed by peer\nmore"), "another process of this run has ended"),
        (ModuleNotFoundError("No module named 'torch'"), "No module named 'torch'; python -m ldie_ext.info tells more"),
        (UserError("what is wrong"), "what is wrong"),
        (
            OSError("Caught OSError in DataLoader worker\nTraceback\nOSError: [Errno 5] I/O error"),
            "[Errno 5] I/O error; ",
        ),
        (DataError("Caught DataError in DataLoader worker\nTraceback\nldie.errors.DataError: a: b"), "a: b"),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_errors_of_the_machine_are_one_line(error, expected, debug, monkeypatch, capsys):
    def fail(options):
        raise error

    monkeypatch.setitem(commands.COMMANDS, "info", fail)
    if debug:
        with pytest.raises(type(error)):
            main(["info", "--debug"])
        return
    assert main(["info"]) == 1
    line = capsys.readouterr().err
    assert line.startswith(f"ldie: {expected}") and line.count("\n") == 1


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch):
    def fail(options):
        raise KeyError("ours")

    monkeypatch.setitem(commands.COMMANDS, "info", fail)
    with pytest.raises(KeyError):
        main(["info"])


def test_ctrl_c_during_the_imports_is_silent():
    code = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'torch': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from ldie.cli import main; sys.exit(main(['info']))"
    )
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(("ignored", "code"), [(False, 130), (True, 0)])
def test_ctrl_c_that_an_import_swallows_ends_the_process(ignored, code):
    """Unless the process was started in the background, where shells have it ignore Ctrl-C."""
    done = run(
        "import os, signal, sys\n"
        "class Swallowing:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        try:\n"
        "            if name == 'torch': os.kill(os.getpid(), signal.SIGINT)\n"
        "        except KeyboardInterrupt: pass\n"
        "sys.meta_path.insert(0, Swallowing())\n"
        f"signal.signal(signal.SIGINT, signal.SIG_IGN if {ignored} else signal.default_int_handler)\n"
        "from ldie.cli import main; sys.exit(main(['info']))"
    )
    assert (done.returncode, done.stderr) == (code, "")
    assert bool(done.stdout) is ignored


def test_ldie_without_torch_says_so():
    done = run("import sys; sys.modules['torch'] = None\nfrom ldie.cli import main; sys.exit(main(['info']))")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("ldie: import of torch halted") and done.stderr.count("\n") == 1


def test_a_message_of_several_ranks_is_printed_once(monkeypatch, tmp_path, capsys):
    for rank in ("0", "1"):
        (tmp_path / rank).mkdir()
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / rank / "error.json"))
        console.say("same")
        console.say(f"of rank {rank}")
    assert capsys.readouterr().err == "ldie: same\nldie: of rank 0\nldie: of rank 1\n"


def test_a_message_is_printed_where_ranks_have_no_folder_in_common(monkeypatch, capsys):
    for path in ("/nowhere/0/error.json", "error.json"):
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", path)
        console.say("said")
    assert capsys.readouterr().err == "ldie: said\n" * 2
