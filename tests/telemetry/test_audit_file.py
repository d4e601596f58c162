"""The file of the audit log when the disk is full."""

import logging
from pathlib import Path

import pytest

from polyport.telemetry import audit
from support.server import wait_for


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux's")
def test_a_full_disk_is_told_once_and_without_the_records(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records name users and addresses: they do not end in the server's log instead."""
    file = tmp_path / "audit.jsonl"
    file.symlink_to("/dev/full")
    log = audit.AuditLog(file, 1024, 1)
    log.open()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            log.add_line(b'{"secret": 1}')
        wait_for(lambda: "No space left" in caplog.text, "the warning")
        log.close()
    assert caplog.text.count("records of the audit log are lost") == 1
    assert "secret" not in caplog.text + capsys.readouterr().err
