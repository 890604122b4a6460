"""Helpers do not outlive the process that started them, and their end does not go unseen."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest
from patience import PATIENCE_S
from process_facts import ends

from training.compute.child_processes import Helpers, start_process
from training.errors import ProcessLost


def test_a_helper_ends_when_the_process_that_started_it_is_killed():
    helping = (
        "import time; from training.compute import child_processes as c;"
        "c.end_with_the_starter(); time.sleep(3600)"
    )
    starting = (
        "import tempfile, time; from training.compute.child_processes import start_process;"
        f"p = start_process(['-c', {helping!r}], dict(__import__('os').environ), tempfile.TemporaryFile());"
        "print(p.pid, flush=True); time.sleep(3600)"
    )
    with subprocess.Popen([sys.executable, "-c", starting], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            helper_pid = int(process.stdout.readline())
        finally:
            process.kill()
    assert ends(helper_pid, within_s=PATIENCE_S)


def test_a_helper_that_ended_is_told_with_its_last_words():
    helpers = Helpers()
    helpers.start(["-c", "import sys; sys.exit('one line\\nthe reason')"], {})
    try:
        why = helpers.why_one_ended()
        with pytest.raises(ProcessLost, match=r"ended with exit code 1\. the reason\.$"):
            helpers.raise_if_one_ended()
    finally:
        helpers.end()
    assert why is not None


def test_a_helper_has_a_session_of_its_own_and_the_same_modules():
    """Ctrl-C in a terminal is for the process that leads; another copy of the code would be another run."""
    module = "training.compute.child_processes"
    script = f"import os, {module} as h; os.write(2, f'{{os.getsid(0)}} {{h.__file__}}'.encode())"
    with tempfile.TemporaryFile() as said:
        process = start_process(["-c", script], os.environ, said)
        assert process.wait() == 0
        process.stdin.close()
        said.seek(0)
        session, file = said.read().decode().split()
    assert int(session) == process.pid
    assert file == sys.modules[start_process.__module__].__file__
