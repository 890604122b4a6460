"""Log lines: one short fixed phrase and its fields, as text for people or JSON for machines.

Knows formatting and the destination of lines; `log_writer` writes them. Knows nothing of requests except the
id in the context. Bodies and pixels never come here: no caller passes them, and long values are cut.

    log = logging.getLogger(__name__)
    log.info("model loaded", extra=fields(model="mnist@3", load_ms=41.2))

structlog could write the same JSON, by processors that do what `_Formatter` does, in twice the time. Its text
is another. The writer, and the lines of uvicorn and of Python itself, would stay ours.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import time
import traceback
from typing import Any, Literal, TextIO

import orjson

from service.log_fields import FIELDS_ATTRIBUTE, fields
from service.observability.log_writer import LogStream, LogWriter
from service.observability.request_trace import current_request_id

_MAX_VALUE_CHARACTERS = 400
_MAX_TRACEBACK_CHARACTERS = 20_000
_PLAIN = re.compile(r"""[^\s"'=\\]+""")


class _Formatter(logging.Formatter):
    """The common part of both forms: the event, its fields, the request id, a traceback."""

    def __init__(self, worker: int | None = None) -> None:
        """With several workers, each line names its worker."""
        super().__init__()
        self._worker = worker

    def collect(self, record: logging.LogRecord) -> dict[str, Any]:
        values: dict[str, Any] = {} if self._worker is None else {"worker": self._worker}
        request_id = current_request_id()
        if request_id is not None:
            values["request_id"] = request_id
        values.update(getattr(record, FIELDS_ATTRIBUTE, {}))
        return {key: _plain(value) for key, value in values.items()}

    def traceback(self, record: logging.LogRecord) -> str | None:
        if not (record.exc_info and record.exc_info[0]):
            return None
        return self.formatException(record.exc_info)[-_MAX_TRACEBACK_CHARACTERS:]


class TextFormatter(_Formatter):
    """`12:00:00.123 info  request method=GET route=/sample status=200`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record, and below it the traceback if there is one."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        words = [
            f"{clock}.{int(record.msecs):03d} {record.levelname.lower():<7} {_one_line(record.getMessage())}"
        ]
        words += [f"{key}={_quoted(value)}" for key, value in self.collect(record).items()]
        traceback = self.traceback(record)
        return " ".join(words) + (f"\n{traceback}" if traceback else "")


class JsonFormatter(_Formatter):
    """One JSON object per line; the traceback, if any, is one field."""

    def format(self, record: logging.LogRecord) -> str:
        """The JSON object of one record, on one line."""
        document = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": _one_line(record.getMessage()),
            "logger": record.name,
            **self.collect(record),
        }
        traceback = self.traceback(record)
        if traceback:
            document["traceback"] = traceback
        return orjson.dumps(document).decode()


class _Handler(logging.Handler):
    """Passes formatted lines to the writer; `logging.shutdown` flushes it at the end of the process."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self.writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.writer.put(self.format(record))
        except Exception:
            self.handleError(record)  # Report the defect on standard error, which goes to the same writer.

    def flush(self) -> None:
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()
        super().close()


def configure_logging(
    *,
    log_format: Literal["auto", "text", "json"],
    level: str,
    stream: TextIO | None = None,
    worker: int | None = None,
) -> None:
    """Send this process's lines, including uvicorn's, to `stream` (default: standard error).

    No caller ever waits for the stream; see `log_writer`. Python's own messages on standard error, such as
    warnings and tracebacks of threads, go the same way. Only the command line calls it: a program that embeds
    the application keeps its own logging.
    """
    target = sys.stderr if stream is None else stream
    as_text = log_format == "text" or (log_format == "auto" and target.isatty())
    formatter = TextFormatter(worker) if as_text else JsonFormatter(worker)

    def report(lines: int, reason: str) -> str:
        lost = fields(lines=lines, reason=reason)
        return formatter.format(
            logging.makeLogRecord(
                {
                    "name": __name__,
                    "levelno": logging.WARNING,
                    "levelname": "WARNING",
                    "msg": "log lines lost",
                }
                | lost
            )
        )

    writer = LogWriter(
        target.fileno(), report=report, encoding=(target.encoding or "utf-8") if as_text else "utf-8"
    )
    handler = _Handler(writer)
    handler.setFormatter(formatter)
    if target is sys.stderr:
        messages = LogStream(writer, target.fileno())
        sys.stderr = messages
        # For an error that ends the program, when standard error is the original stream again.
        sys.excepthook = lambda *error: traceback.print_exception(*error, file=messages)
    root = logging.getLogger()
    for former in root.handlers:
        former.close()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("service", "model_store"):
        logging.getLogger(name).setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        uvicorn_logger = logging.getLogger(name)
        uvicorn_logger.handlers[:] = []
        uvicorn_logger.propagate = True
        # Our own lines on start and stop contain more than uvicorn's; its warnings and errors are kept.
        uvicorn_logger.setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_not_told_by_us)
    access = logging.getLogger("uvicorn.access")
    access.handlers[:] = []
    access.propagate = False  # one request is one line, and that line is ours


def lost_lines() -> int:
    """Number of this process's lines that could not be written so far."""
    return sum(each.writer.lost for each in logging.getLogger().handlers if isinstance(each, _Handler))


def _is_not_told_by_us(record: logging.LogRecord) -> bool:
    """Drops uvicorn's lines about malformed requests and about responses that a stop cut off.

    `service.process.server` logs a malformed request with the request id. uvicorn logs the number of
    cancelled responses, and the log line of each cancelled request has the code `shutting-down`.
    """
    if record.msg == "Invalid HTTP request received.":
        return False
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 3)
    return _one_line(str(value))


def _one_line(text: str) -> str:
    """No line breaks, no control characters, no lone surrogates: a client cannot forge a line."""
    cut = text if len(text) <= _MAX_VALUE_CHARACTERS else text[: _MAX_VALUE_CHARACTERS - 3] + "..."
    return "".join(c if c.isprintable() else "?" for c in cut)


def _quoted(value: object) -> str:
    """The text itself if it is unambiguous as one value, otherwise as a JSON string."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
