"""Records llama.cpp's token ids of many strings, for tests to compare ours with.

    python -m benchmarks.record_token_table SmolLM2-135M-Instruct.Q4_1.gguf tests/data

Needs ``llama-cpp-python``. Writes three tables: the default model's ids; the ids under each way to cut text into words,
from the same vocabulary with another ``tokenizer.ggml.pre``; and the ids of a SentencePiece vocabulary made up here.
The strings depend on nothing but this file. They use no character added by Unicode 16 or later: which of those are
letters depends on the Unicode version that a library was built with.
"""

# ruff: noqa: RUF001 (characters that look like others are what is recorded here)
from __future__ import annotations

import argparse
import gzip
import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
from llama_cpp import Llama

SEED = 20240607
TEXT_COUNT = 10_000
VARIANT_TEXT_COUNT = 600
# fmt: off
PRE_TOKENIZERS = (
    "chatglm-bpe", "codeshell", "command-r", "dbrx", "deepseek-r1-qwen", "deepseek-v3", "default", "exaone", "falcon",
    "falcon3", "glm4", "gpt-2", "gpt-4o", "jais", "llama-bpe", "llama-v3", "llama3", "llama4", "megrez", "minerva-7b",
    "modern-bert", "mpt", "olmo", "phi-2", "pixtral", "qwen2", "refact", "smaug-bpe", "smollm", "stablelm2",
    "starcoder", "tekken", "trillion",
)
FRAGMENTS: tuple[tuple[str, ...], ...] = (
    ("Hello", "world", " the", " quick", " BROWN", " fox", "naïve", " Straße", " œuvre", "camelCaseWord", " XMLHttp"),
    (" 7", "\t42", "  1234567890", "3.14159", " 1,000,000", "0x1F", "1e-9", "\n2024-06-07", "v1.2.3", "007",
     "9" * 17),
    ("٠١٢٣", " ٤٥", "²³", "x¹⁰", "Ⅷ", " ⅻ", "½", " ⅔", "１２３", "९८", "㊿", "①", "৩", "〇", "𝟘𝟙", "Ⅿ²", "৹"),
    ("你好，世界", "机器学习", " 三百", "《红楼梦》", "日本語", "ひらがな", "カタカナ", "ｶﾀｶﾅ", "東京タワー",
     "한국어", " 안녕하세요"),
    ("العربية", " مرحبا", "עברית", " שלום", "हिन्दी", " नमस्ते", "ไทย", "Ελληνικά", " Привет", "українська", "தமிழ்"),
    ("😀", "👩‍👩‍👧‍👦", "👍🏽", "🇫🇷", "❤️", "🏴‍☠️", " 🤖", "✨✨", "👨🏿‍🚀", "☃",
     "\U0001f9d1\u200d\U0001f4bb", "↔️"),
    ("def f(x):\n    return x**2", "for (int i=0;i<n;++i)", "{\n\t\"a\": [1, 2]\n}", "SELECT * FROM t;",
     "#include <x>\n"),
    ("</div>", "a->b", "x != y", "&&", "||", "=>", "::", "'''", '"""', "```py\n", "$HOME/bin", "\\n", "//",
     "/* */", "<!--"),
    (" ", "  ", "   ", "    ", "\t", "\t\t", " \t ", "\u00a0", "\u3000", "\u2003", "\u2028", "\x0b", "\x0c",
     "\x85", " " * 13),
    ("\n", "\n\n", "\r\n", "\r", "\n\n\n\n", " \n", "\n ", "\n\t", "\t\n", " \r\n ", "\n" * 9, "\u2029"),
    ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'VE", "'M", "'LL", "'D", "'Re", "'lL",
     "’s", "'ſ", "''"),
    ("I'm", " we've", "DON'T", "y'all'd've", " it's", "O'Neill", "rock'n'roll", "'tis", "she'LL", "l'été", "'x",
     " '", "' "),
    ("\x00", "\x01", "\x04", "\x06", "\x13", "\x1b[0m", "\x1f", "\x7f", "\x9f", "\ufeff", "\u200b", "\u202e",
     "\ufffd", "\u00ad"),
    ("e\u0301", "n\u0303", "a\u0308\u0323", "Z\u0351\u036b", "\u0301", "\u20dd", "क\u094d", "ก\u0e33",
     "\u1100\u1161\u11a8", "ﬁ"),
    ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "<file_sep>", "<|im_start|>user\n",
     "<|im_end|>\n"),
    ("<|im_", "|im_end|>", "<|im_start", "<<|im_end|>>", "<|IM_END|>", "<| im_end |>", "<s>", "</s>", "<unk>",
     "<0x41>"),
    ("!", "...", "?!", "---", "====", "_", "__init__", "«»", "„“", "—", "…", "¿¡", "()", "[]", "@user", "#tag",
     "50%", "€5", "+-"),
)
CODE_POINT_RANGES = (
    (0x00, 0xFF), (0x100, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF),
    (0x2000, 0x206F), (0x2070, 0x218F), (0x2190, 0x23FF), (0x2460, 0x24FF), (0x3000, 0x30FF), (0x3200, 0x33FF),
    (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xFB00, 0xFDFF), (0xFF00, 0xFFEF), (0x1D400, 0x1D7FF),
    (0x1F300, 0x1F6FF), (0x20000, 0x200FF), (0x40000, 0x400FF), (0xE0000, 0xE007F), (0x10FF00, 0x10FFFF),
)
# fmt: on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the default model's GGUF file")
    parser.add_argument("folder", type=Path, help="where the tables go")
    arguments = parser.parse_args()

    texts = make_texts(TEXT_COUNT)
    few = texts[:VARIANT_TEXT_COUNT]
    model = gguf.GGUFReader(arguments.model)
    write_table(arguments.folder / "smollm2_token_ids.json.gz", {"texts": texts, "ids": ids_of(arguments.model, texts)})

    families: list[dict[str, Any]] = []
    for name in PRE_TOKENIZERS:
        ids = ids_with(model, {"tokenizer.ggml.pre": name}, few)
        same = next((family for family in families if family["ids"] == ids), None)
        if same is None:
            families.append({"names": [name], "ids": ids})
        else:
            same["names"].append(name)
    write_table(arguments.folder / "pre_tokenizer_token_ids.json.gz", {"texts": few, "families": families})

    sentencepiece = make_sentencepiece_metadata(few)
    cases = [
        {"changes": changes, "ids": ids_with(model, {**sentencepiece, **changes}, few, add_special_tokens=True)}
        for changes in (
            {"tokenizer.ggml.add_space_prefix": True},
            {"tokenizer.ggml.add_space_prefix": False, "tokenizer.ggml.add_bos_token": False},
            {"tokenizer.ggml.add_eos_token": True},
        )
    ]
    table = {"metadata": sentencepiece, "texts": few, "cases": cases}
    write_table(arguments.folder / "sentencepiece_token_ids.json.gz", table)


def make_texts(count: int) -> list[str]:
    """Distinct strings: every fragment alone and after a space, each digit after each kind of space, then mixtures."""
    draw = random.Random(SEED)
    singles = [fragment for group in FRAGMENTS for fragment in group]
    spaced_digits = [f"a{space}{digit}" for space in (" ", "  ", "\t", "\n", "\u00a0") for digit in "0159٣²Ⅷ½３"]
    texts = dict.fromkeys(["", *singles, *(" " + single for single in singles), *spaced_digits])
    makers: Sequence[Callable[[random.Random], str]] = (_mixture, _mixture, _within_group, _code_points, _long)
    weights = (50, 20, 15, 14, 1)
    while len(texts) < count:
        texts[draw.choices(makers, weights)[0](draw)] = None
    result = list(texts)
    draw.shuffle(result)
    return result


def _mixture(draw: random.Random) -> str:
    glue = draw.choice(("", "", " ", "\n", "\t", "  "))
    return glue.join(draw.choice(draw.choice(FRAGMENTS)) for _ in range(draw.randint(2, 7)))


def _within_group(draw: random.Random) -> str:
    group = draw.choice(FRAGMENTS)
    return "".join(draw.choice(group) * draw.choice((1, 1, 2)) for _ in range(draw.randint(2, 8)))


def _code_points(draw: random.Random) -> str:
    ranges = draw.sample(CODE_POINT_RANGES, k=draw.randint(1, 3))
    return "".join(chr(draw.randint(*draw.choice(ranges))) for _ in range(draw.randint(1, 16)))


def _long(draw: random.Random) -> str:
    return draw.choice((_mixture, _within_group))(draw) * draw.randint(5, 30)


def make_sentencepiece_metadata(texts: Sequence[str]) -> dict[str, Any]:
    """A SentencePiece vocabulary of the commonest substrings of ``texts``, with gaps left to the byte tokens."""
    counts = Counter(
        piece
        for text in texts
        for escaped in [text.replace(" ", "\u2581")]
        for length in range(1, 6)
        for piece in (escaped[i : i + length] for i in range(len(escaped) - length + 1))
    )
    common = sorted(((count, piece) for piece, count in counts.items() if count >= 8), reverse=True)
    characters = {piece for _, piece in common if len(piece) == 1} - {"\x00"}  # GGUF readers end a token there
    control, defined = ["<unk>", "<s>", "</s>"], ["<|im_start|>", "<|im_end|>", "\n\n", "\n\n\n"]
    as_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    normal = [piece for _, piece in common if set(piece) <= characters and piece not in (*control, *defined)]
    types = [2, 3, 3, *[4] * len(defined), *[6] * len(as_bytes), *[1] * len(normal)]
    unscored = len(types) - len(normal)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [*control, *defined, *as_bytes, *normal],
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.scores": [0.0] * unscored + [-float(rank) for rank in range(len(normal))],
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


def ids_of(model: Path, texts: Sequence[str], add_special_tokens: bool = False) -> list[list[int]]:
    llama = Llama(str(model), vocab_only=True, verbose=False)
    return [llama.tokenize(text.encode(), add_bos=add_special_tokens, special=True) for text in texts]


def ids_with(
    model: gguf.GGUFReader, changes: Mapping[str, Any], texts: Sequence[str], add_special_tokens: bool = False
) -> list[list[int]]:
    """The ids under ``model``'s metadata with ``changes``, which replace the whole tokenizer if they name its kind."""
    fields = {key: field.contents() for key, field in model.fields.items() if not key.startswith("GGUF.")}
    if "tokenizer.ggml.model" in changes:
        fields = {key: value for key, value in fields.items() if not key.startswith("tokenizer.")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vocabulary.gguf")
        _write_gguf(path, {**fields, **changes})
        return ids_of(path, texts, add_special_tokens)


def _write_gguf(path: Path, metadata: Mapping[str, Any]) -> None:
    writer = gguf.GGUFWriter(path, metadata["general.architecture"])
    for key, value in metadata.items():
        match value:
            case _ if key == "general.architecture":
                pass
            case bool():
                writer.add_bool(key, value)
            case int():
                writer.add_uint32(key, value)
            case float():
                writer.add_float32(key, value)
            case str():
                writer.add_string(key, value)
            case _:
                writer.add_array(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def write_table(path: Path, table: Mapping[str, Any]) -> None:
    data = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    path.write_bytes(gzip.compress(data, mtime=0))
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
