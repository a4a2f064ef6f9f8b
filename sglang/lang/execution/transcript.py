"""What a state holds: its text, the segments it is made of, and the messages of the conversation it may be."""

from __future__ import annotations

from dataclasses import dataclass

from sglang.lang.backends.base import Generated, Message, Prompt, RoleText, Segment
from sglang.lang.media import Content, Media, openai_content


@dataclass(frozen=True, slots=True)
class _OpenRole:
    role: str
    suffix: str
    begin: int  # the first piece of its content


@dataclass(frozen=True, slots=True)
class _Position:
    pieces: int = 0
    segments: int = 0
    messages: int = 0


_START = _Position()


class Transcript:
    """Append-only. Belongs to one thread at a time.

    Text is a list of pieces, joined when it is asked for, so that appending costs the same however long it is.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._media: dict[int, Media] = {}  # piece that stands for it -> media
        self._segments: list[Segment] = []
        self._messages: list[Message] = []
        self._open_role: _OpenRole | None = None
        self._scopes: dict[str, int] = {}  # name -> first piece
        self._begin = _START  # the end of what it branched off from
        self._joined = ""  # the first _num_joined pieces
        self._num_joined = 0

    @property
    def text(self) -> str:
        if self._num_joined < len(self._pieces):
            self._joined += "".join(self._pieces[self._num_joined :])
            self._num_joined = len(self._pieces)
        return self._joined

    @property
    def messages(self) -> list[Message]:
        """The closed ones, as in the OpenAI API."""
        return [{**message, "content": openai_content(message["content"])} for message in self._messages]

    def prompt(self) -> Prompt:
        role = self._open_role
        return Prompt(
            self.text,
            tuple(self._segments),
            tuple(self._messages),
            role.role if role else None,
            self._text_from(role.begin) if role else "",
        )

    def append(self, text: str) -> None:
        if text:
            self._pieces.append(text)
            self._segments.append(text)

    def append_media(self, media: Media) -> None:
        self._media[len(self._pieces)] = media
        self.append(media.placeholder)

    def append_generated(self, generated: Generated) -> None:
        self._pieces.append(generated.text)
        self._segments.extend(segment for segment in generated.as_segments if segment)

    def roles_with(self, role: str) -> tuple[str, ...]:
        """The roles of the conversation if `role` begins now. Raises ValueError if one is open."""
        if self._open_role is not None:
            raise ValueError(f"Nested roles are not allowed: {role!r} begins before {self._open_role.role!r} ends")
        return (*(message["role"] for message in self._messages), role)

    def begin_role(self, role: str, around: RoleText) -> None:
        self.append(around.prefix)
        self._open_role = _OpenRole(role, around.suffix, len(self._pieces))

    def end_role(self, role: str) -> str:
        """The text this appends. Raises ValueError if another role is open, or none."""
        open_role = self._open_role
        if open_role is None or open_role.role != role:
            raise ValueError(f"{role!r} ends, but {repr(open_role.role) if open_role else 'no role'} is open")
        self._messages.append({"role": role, "content": self._content_from(open_role.begin)})
        self._open_role = None
        self.append(open_role.suffix)
        return open_role.suffix

    def begin_scope(self, name: str) -> None:
        self._scopes[name] = len(self._pieces)

    def end_scope(self, name: str) -> str:
        """The text since the scope began."""
        return self._text_from(self._scopes.pop(name))

    def copy(self) -> Transcript:
        copy = Transcript()
        copy._pieces = list(self._pieces)
        copy._media = dict(self._media)
        copy._segments = list(self._segments)
        copy._messages = list(self._messages)
        copy._open_role = self._open_role
        copy._scopes = dict(self._scopes)
        copy._begin = self._begin
        return copy

    def branch(self) -> Transcript:
        """A copy that knows where it went on from."""
        branch = self.copy()
        branch._begin = _Position(len(self._pieces), len(self._segments), len(self._messages))
        return branch

    def extend(self, branch: Transcript) -> str:
        """Append what a branch has since it began; the text of it.

        Raises ValueError if it stopped inside another role than is open here, or where roles would be nested.
        """
        before = self._open_role.role if self._open_role else None
        after = branch._open_role.role if branch._open_role else None
        messages = branch._messages[branch._begin.messages :]
        if before != after or (before is not None and messages):
            raise ValueError(f"a branch that ends in role {after} cannot be appended where role {before} is open")
        shift = len(self._pieces) - branch._begin.pieces
        self._media |= {at + shift: media for at, media in branch._media.items() if at >= branch._begin.pieces}
        self._pieces.extend(branch._pieces[branch._begin.pieces :])
        self._segments.extend(branch._segments[branch._begin.segments :])
        self._messages.extend(messages)
        return branch._text_from(branch._begin.pieces)

    def _text_from(self, piece: int) -> str:
        return "".join(self._pieces[piece:])

    def _content_from(self, piece: int) -> Content:
        """Without the spaces it begins with."""
        parts: list[str | Media] = []
        begin = piece
        for at in sorted(at for at in self._media if at >= piece):
            parts += ["".join(self._pieces[begin:at]), self._media[at]]
            begin = at + 1
        parts.append(self._text_from(begin))
        if len(parts) == 1:
            return self._text_from(piece).lstrip()
        return tuple(part for part in (str(parts[0]).lstrip(), *parts[1:]) if part)
