"""A mail server that does what it is told, also to misbehave."""

from __future__ import annotations

import socketserver
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass
class MailServer:
    """`behaviours` are taken one by one, for each mail that comes; then it behaves.

    "hang": never answers RCPT. "4xx", "5xx": refuses the recipient. "4xx data", "5xx data": refuses the message. "die":
    hangs up when the message has come. "die after": hangs up when it has been taken. "no service": 554 for a greeting.
    "wrong password": refuses whoever signs in.
    """

    behaviours: list[str] = field(default_factory=list)
    received: list[tuple[str, EmailMessage]] = field(default_factory=list)
    connections: int = 0
    signed_in: list[str] = field(default_factory=list)
    port: int = 0
    released: threading.Event = field(default_factory=threading.Event)


class _Conversation(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        world: MailServer = self.server.world  # type: ignore[attr-defined]
        world.connections += 1
        behaviour = world.behaviours.pop(0) if world.behaviours else "behave"
        if behaviour == "no service":
            self.say("554 not today")
            return
        self.say("220 mail.test")
        recipient = ""
        while line := self.rfile.readline().decode().strip():
            verb = line.upper().partition(" ")[0]
            if verb == "RCPT":
                recipient = line.partition("<")[2].partition(">")[0]
                if behaviour == "hang":
                    world.released.wait(300)
                    return
                self.say({"4xx": "450 try later", "5xx": "550 no such user"}.get(behaviour, "250 OK"))
            elif verb == "EHLO":
                self.say("250-mail.test\r\n250 AUTH PLAIN")
            elif verb == "AUTH":
                world.signed_in.append(b64decode(line.split()[2]).decode())
                self.say("535 no" if behaviour == "wrong password" else "235 welcome")
            elif verb == "DATA":
                self.say("354 go on")
                data = self.read_message()
                if behaviour == "die":
                    return
                if behaviour in ("4xx data", "5xx data"):
                    self.say("452 full" if behaviour == "4xx data" else "554 spam")
                    continue
                world.received.append((recipient, message_from_bytes(data, policy=policy.default)))  # type: ignore[arg-type]
                self.say("250 taken")
                if behaviour == "die after":
                    return
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 OK")

    def say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")

    def read_message(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line)
        return b"".join(lines)


@contextmanager
def mail_server(*behaviours: str) -> Iterator[MailServer]:
    world = MailServer(list(behaviours))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Conversation) as server:
        server.daemon_threads = True
        server.world = world  # type: ignore[attr-defined]
        world.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield world
        finally:
            world.released.set()
            server.shutdown()
            thread.join()
