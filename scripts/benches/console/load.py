"""Persons who turn pages, as locust users. A program of its own with its own environment, in which
nothing of the project is installed: ``python load.py PLAN RESULTS``.

Each person opens its pages in random order, as often as the plan says, and reads each for a moment.
The time of a page is what the console itself measured (the header ``Server-Timing``).
"""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path
from typing import Any

from locust import HttpUser, events, task  # replaces sockets, so it is imported first
from locust.env import Environment
from locust.exception import StopUser

_TIME = re.compile(r"dur=([0-9.]+)")


class Person(HttpUser):  # type: ignore[misc, unused-ignore]
    """One person with a session; the plan says which pages it opens."""

    abstract = True
    plan: dict[str, Any]
    waiting: list[dict[str, Any]]
    results: list[dict[str, Any]]

    def on_start(self) -> None:
        """Take the next person of the plan."""
        self.me = self.waiting.pop()
        self.client.headers.update({"cookie": self.me["cookie"], "accept-language": "zh-CN"})
        self.pages = self.me["pages"] * self.plan["visits"]
        random.shuffle(self.pages)

    def wait_time(self) -> float:
        """Seconds that the person reads."""
        shortest, longest = self.plan["pause"]
        return random.uniform(shortest, longest)  # noqa: S311

    @task  # type: ignore[untyped-decorator, unused-ignore]
    def turn_page(self) -> None:
        """Open the next page."""
        if not self.pages:
            raise StopUser()
        page = self.pages.pop()
        answer = self.client.get(page["address"], name=page["route"], allow_redirects=False)
        reported = _TIME.search(answer.headers.get("server-timing", ""))
        result = {
            **page,
            "person": self.me["name"],
            "status": answer.status_code,
            "ms": float(reported.group(1)) if reported else None,
        }
        self.results.append(result)


def main(plan_file: str, results_file: str) -> None:
    """Run every person of the plan to its last page."""
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    results: list[dict[str, Any]] = []
    attributes = {
        "abstract": False,
        "host": plan["host"],
        "plan": plan,
        "waiting": list(plan["persons"]),
        "results": results,
    }
    environment = Environment(user_classes=[type("Someone", (Person,), attributes)], events=events)
    runner = environment.create_local_runner()
    runner.start(len(plan["persons"]), spawn_rate=len(plan["persons"]))
    runner.spawning_greenlet.join()
    runner.user_greenlets.join()
    runner.quit()
    Path(results_file).write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
