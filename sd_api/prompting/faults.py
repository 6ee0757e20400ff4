"""What is wrong with a prompt, and where."""

# Deeper than any prompt, and shallow enough for recursion.
MAX_DEPTH = 40

# Characters that are quoted of the place of a fault.
_QUOTED = 24


class PromptFault(ValueError):
    """A prompt that cannot be read.

    Args:
        at: The place of the fault, in characters from 0.
        problem: What is wrong there.
    """

    def __init__(self, at: int, problem: str) -> None:
        super().__init__(problem)
        self.at = at
        self.problem = problem

    def sentence(self, text: str) -> str:
        """The fault as the end of a sentence that begins with the field's name.

        Args:
            text: The prompt.
        """
        rest = text[self.at :]
        quoted = rest if len(rest) <= _QUOTED else f"{rest[:_QUOTED]}…"
        return f"has a fault at character {self.at + 1} (“{quoted}”): {self.problem}"
