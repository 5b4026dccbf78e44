"""What the tables of cases are written with: a topic gathers loads and evals, and has the reference answer them."""

import re

import script
from functions import Failed
from reference import Storage, instant, ranged
from script import Clear, Eval, Load
from syntax import Refused

TOPICS = {}


def spelled(line):
    """The format repeats numbers (`1x3`), but not the words for NaN and the infinities."""
    return re.sub(r"(?<= )([-+]?(?:NaN|Inf))x(\d+)", lambda found: " ".join([found[1]] * (int(found[2]) + 1)), line)


class Topic:
    """One file of the corpus.

    `at` and `over` take the answer from the reference; where `gives` stands, the answer was derived by hand, `why`
    says from what rule, and the reference must agree.
    """

    def __init__(self, name, about):
        self.name, self.commands, self.storage = name, [about, ""], Storage()
        self.disagreements, self.loaded, self.asked = [], False, {}
        TOPICS[name] = self

    def load(self, interval, text):
        """Fresh data: what was loaded before is cleared."""
        if self.loaded:
            self.commands.append(Clear())
        load = Load(interval, [spelled(line.strip()) for line in text.strip().splitlines() if line.strip()])
        self.commands.append(load)
        self.storage, self.loaded, self.asked = Storage(load.series()), True, {}

    def say(self, text):
        self.commands.append(text)

    def at(self, time, *queries, gives=None, expects=(), why=""):
        for query in queries:
            self.add(Eval((time,), query.strip(), list(expects), why=why), gives)

    def over(self, times, *queries, gives=None, expects=(), why=""):
        """`times` is "START END STEP"."""
        for query in queries:
            self.add(Eval(tuple(times.split()), query.strip(), list(expects), why=why), gives)

    def fails(self, *queries, time="5m", why="", times=None):
        for query in queries:
            self.add(Eval(tuple(times.split()) if times else (time,), query, ["fail"], why=why), None)

    def answer(self, case):
        if case.is_range:
            return ranged(self.storage, case.query, *case.milliseconds())
        return instant(self.storage, case.query, *case.milliseconds())

    def add(self, case, gives):
        if case.header() in self.asked:
            if gives is None:
                return
            # An answer by hand stands for the one that was generated.
            self.commands = [command for command in self.commands if command is not self.asked[case.header()]]
        self.asked[case.header()] = case
        self.commands.append(case)
        try:
            answer = self.answer(case)
        except (Refused, Failed) as error:
            if not case.expects_failure():
                self.disagreements.append((case, f"fails: {error}"))
            return
        if case.expects_failure():
            self.disagreements.append((case, f"answers {answer.value!r}"))
            return
        if answer.kind == "string":
            case.expects.append(f"string {script.quote(answer.value)}")
        lines = script.result_lines(answer, case.milliseconds())
        for level in ("warn", "info"):
            if level in case.expects and not any(note[0] == level for note in answer.notes):
                self.disagreements.append((case, f"no {level}"))
        if gives is None:
            case.results = lines
            return
        wanted = [line.strip() for line in gives.strip().splitlines() if line.strip()]
        case.results = wanted
        if not script.same_rows(script.rows_of_lines(lines), script.rows_of_lines(wanted), case.ordered()):
            self.disagreements.append((case, "answers\n    " + "\n    ".join(lines or ["nothing"])))

    def count(self):
        return sum(isinstance(command, Eval) for command in self.commands)

    def text(self):
        return script.render(self.commands).rstrip() + "\n"
