"""A name server on loopback: what it says is in files, so that every process of the tests can have it say something."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingUDPServer
from threading import Thread
from typing import Any, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from tests.stack import Stack

BROKEN = "broken"
"""What a file holds whose name the server fails to look up."""


def records_of(stack: Stack) -> Path:
    """The folder of its records: files by name, with a TXT record in each line."""
    return stack.data_dir.parent / "names"


class _Names(BaseRequestHandler):
    """Answers one question."""

    def handle(self) -> None:
        """TXT records alone."""
        data, socket = self.request
        question = dns.message.from_wire(data)
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.AA | dns.flags.RA
        [asked] = question.question
        file = cast("_Server", self.server).folder / asked.name.to_text(omit_final_dot=True)
        if not file.exists():
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif file.read_text() == BROKEN:
            answer.set_rcode(dns.rcode.SERVFAIL)
        else:
            texts = [f'"{line}"' for line in file.read_text().splitlines()]
            if texts:
                answer.answer.append(dns.rrset.from_text(asked.name, 60, "IN", "TXT", *texts))
        socket.sendto(answer.to_wire(), self.client_address)


class _Server(ThreadingUDPServer):
    folder: Path


@contextmanager
def name_server(stack: Stack) -> Iterator[dict[str, Any]]:
    """A name server; the settings that have a stack ask it."""
    records_of(stack).mkdir(parents=True, exist_ok=True)
    with _Server(("127.0.0.1", 0), _Names) as server:
        server.folder = records_of(stack)
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield {"tenancy_name_servers": f"127.0.0.1:{server.server_address[1]}"}
        server.shutdown()
        thread.join()
