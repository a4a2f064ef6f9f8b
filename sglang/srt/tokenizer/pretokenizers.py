r"""How byte-level models cut text into words before merging: the meaning of a GGUF file's ``tokenizer.ggml.pre``.

Token ids depend on every detail of this cut. The patterns are those llama.cpp applies for the same name, which is
what the files were made for. They run in order, each on the pieces the one before left; a match and the text between
matches are both pieces.

Contractions are spelled out (``[sS]``), because a case-insensitive match would also take U+017F for an s.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer, Sequence, Split

from sglang.srt.errors import ModelLoadError


@dataclass(frozen=True)
class PreTokenizerRule:
    """``whole_words``: a word that is in the vocabulary is one token, whatever the merges say.

    ``add_bos``: whether files that do not say want a beginning-of-text token.
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    add_bos: bool = False


def find_rule(name: str | None) -> PreTokenizerRule:
    """Raises ModelLoadError for a name that is not in the table: a guess would give wrong ids that look right."""
    if name is None:
        raise ModelLoadError(
            "the GGUF file does not say how it cuts text into words (no 'tokenizer.ggml.pre'); convert the model again"
        )
    if name not in _RULES:
        raise ModelLoadError(f"unsupported 'tokenizer.ggml.pre' = {name!r}; supported: {', '.join(sorted(_RULES))}")
    return _RULES[name]


def byte_level_pre_tokenizer(rule: PreTokenizerRule, missing_characters: str) -> PreTokenizer:
    """Cuts by ``rule``, spells bytes as characters, and drops ``missing_characters`` of the byte-level alphabet.

    Vocabularies may lack characters for bytes their training text never had; such a byte is left out, but still
    separates what is on both sides of it.
    """
    steps: list[PreTokenizer] = [Split(Regex(pattern), behavior="isolated") for pattern in rule.patterns]
    steps.append(ByteLevel(add_prefix_space=False, use_regex=False))
    if missing_characters:
        escaped = "".join(f"\\x{{{ord(character):X}}}" for character in missing_characters)
        steps.append(Split(Regex(f"[{escaped}]"), behavior="removed"))
    return Sequence(steps)


_CONTRACTIONS = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_OTHERS = r" ?[^\s\p{L}\p{N}]+"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_UPPER = r"(?:(?=\p{L})[^a-z])"
_LOWER = r"(?:(?=\p{L})[^A-Z])"

_GPT2 = rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+|{_OTHERS}|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{{1,3}}|{_OTHERS}[\r\n]*|{_SPACES}"
_QWEN2 = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}|{_OTHERS}[\r\n]*|{_SPACES}"
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%s"
_TEKKEN = rf"{_CASED % ('', '')}|\p{{N}}|{_OTHERS}[\r\n/]*|{_SPACES}"
_GPT4O = rf"{_CASED % (f'(?:{_CONTRACTIONS})?', f'(?:{_CONTRACTIONS})?')}|\p{{N}}{{1,3}}|{_OTHERS}[\r\n/]*|{_SPACES}"
_DEEPSEEK_V3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}"
)

_FAMILIES: tuple[tuple[PreTokenizerRule, tuple[str, ...]], ...] = (
    (
        PreTokenizerRule((r"\p{N}", _GPT2)),
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"),
    ),
    (PreTokenizerRule((_GPT2,)), ("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "modern-bert")),
    (
        PreTokenizerRule((_LLAMA3,), whole_words=True, add_bos=True),
        ("llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral"),
    ),
    (PreTokenizerRule((_LLAMA3,), whole_words=True), ("glm4",)),
    (PreTokenizerRule((_LLAMA3,)), ("dbrx", "smaug-bpe", "chatglm-bpe")),
    (PreTokenizerRule((_QWEN2,)), ("qwen2", "deepseek-r1-qwen", "stablelm2", "megrez")),
    (PreTokenizerRule((_GPT4O,)), ("gpt-4o", "llama4")),
    (PreTokenizerRule((_TEKKEN,), whole_words=True, add_bos=True), ("tekken",)),
    (
        PreTokenizerRule((r"\p{N}{1,3}", r"[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+", _DEEPSEEK_V3)),
        ("deepseek-v3",),
    ),
    (PreTokenizerRule((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9][0-9][0-9]")), ("falcon",)),
    (PreTokenizerRule((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")), ("default",)),
)
_RULES = {name: rule for rule, names in _FAMILIES for name in names}
