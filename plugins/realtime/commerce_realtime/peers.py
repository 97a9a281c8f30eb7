"""The other processes that serve sockets: which there are, and asking all of them something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from commerce_realtime import news
from commerce_realtime.news import News

if TYPE_CHECKING:
    from commerce_realtime.bus import Bus

ANSWER_SECONDS = 1.0
TOLD_BY_THE_SHOP = frozenset({"stock", "catalogue", "event"})


class Peers:
    """Who has been heard of less than `lease_seconds` ago. `has_gone(process)` is called for who is not any more."""

    def __init__(self, now: Callable[[], float], lease_seconds: float, has_gone: Callable[[str], None]) -> None:
        self.bus: Bus | None = None
        self._now = now
        self._lease_seconds = lease_seconds
        self._has_gone = has_gone
        self._heard_at: dict[str, float] = {}
        self._questions: dict[str, tuple[set[str], list[Any], asyncio.Future[None]]] = {}
        # What may be asked, by its name.
        self.answers: dict[str, Callable[..., Any]] = {}

    @property
    def others(self) -> set[str]:
        """The other processes, if the bus is there to reach them."""
        return set(self._heard_at) if self.bus is not None and self.bus.is_there else set()

    def hear(self, heard: News) -> bool:
        """Whether this was about peers. Whatever programs of the shop do not tell shows that one is there."""
        if heard.kind not in TOLD_BY_THE_SHOP or heard.process in self._heard_at:
            self._heard_at[heard.process] = self._now()
        if heard.kind == "bye":
            self._forget(heard.process)
        elif heard.kind == "ask":
            self._answer(heard.process, *heard.body)
        elif heard.kind == "answer":
            self._take_answer(heard.process, *heard.body)
        return heard.kind in {"beat", "bye", "ask", "answer"}

    def sweep(self) -> None:
        """Forget those who have said nothing for too long. Not while nobody can be heard."""
        if self.bus is None or not self.bus.is_there:
            return
        for process, heard_at in list(self._heard_at.items()):
            if self._now() - heard_at > self._lease_seconds:
                self._forget(process)

    def give_time(self) -> None:
        """The bus was away: nobody could be heard of, and that is nobody's fault."""
        for process in self._heard_at:
            self._heard_at[process] = self._now()

    async def ask(self, what: str, *about: Any) -> list[Any]:
        """What the others answer, of those who do so in time."""
        others = self.others
        if not others or self.bus is None:
            return []
        question = news.new_process()
        answers: list[Any] = []
        done = asyncio.get_running_loop().create_future()
        self._questions[question] = (others, answers, done)
        self.bus.tell("ask", question, what, *about)
        try:
            await asyncio.wait_for(done, ANSWER_SECONDS)
        except TimeoutError:
            pass
        finally:
            self._questions.pop(question, None)
        return answers

    def _answer(self, process: str, question: str, what: str, *about: Any) -> None:
        answer = self.answers.get(what)
        if answer is not None and self.bus is not None:
            self.bus.tell("answer", process, question, answer(*about))

    def _take_answer(self, process: str, asked_by: str, question: str, answer: Any) -> None:
        found = self._questions.get(question)
        if found is None or self.bus is None or asked_by != self.bus.process:
            return
        missing, answers, done = found
        if process in missing:
            missing.discard(process)
            answers.append(answer)
        if not missing and not done.done():
            done.set_result(None)

    def _forget(self, process: str) -> None:
        if self._heard_at.pop(process, None) is None:
            return
        if self.bus is not None:
            self.bus.forget(process)
        for missing, _, done in self._questions.values():
            missing.discard(process)
            if not missing and not done.done():
                done.set_result(None)
        self._has_gone(process)
