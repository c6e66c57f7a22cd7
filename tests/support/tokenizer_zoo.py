"""Builds small tokenizers of every kind that a `tokenizer.json` can describe.

In: nothing but the package `tokenizers`. Out: `ZOO`, the name of each tokenizer and what builds the
text of its file. Vocabularies are trained on the few texts below, so that a build takes
milliseconds; the settings around them are those of real models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tests.support.charsmap import charsmap

__all__ = ["TEXTS", "ZOO", "build"]

Json = dict[str, Any]

TEXTS = (
    "The tide tables list high water and low water for every day of the year, don't they?",
    "It's 12345 steps from here; they'll say we've gone 1,234.5 miles. I'm sure he'd agree.",
    "def area(radius):\n    if radius < 0:\n        raise ValueError('negative')\n"
    "    return 3.14159 * radius ** 2\n\n\nprint(area(10))\n",
    "fn main() {\n\tlet x_1 = vec![0u8; 64];\n\tfoo_bar(&x_1); // a comment\r\n}\r\n",
    "潮汐表列出了全年每天的高潮和低潮时间。汉字与标点,数字123。かなカナ 한국어 문장입니다.",
    "ज्वार-भाटा तालिका हर दिन के उच्च जल और निम्न जल का समय बताती है।",
    "جداول المد والجزر تسرد أوقات المياه العالية والمنخفضة، لكل يوم من السنة؟",
    "Приливы и отливы меняются каждый день; ёлка, съезд. Ελληνικά: παλίρροια.",
    "Crème brûlée, naïve façade, Ångström, e\u0301tale \u0301 \ufb01ne \uff21\uff22\u3000\u2460 ½ Ⅷ",
    "emoji 🌊🌊 👩‍👩‍👧‍👦 🇩🇪, zero\u200bwidth, no\u00a0break, soft\u00adhyphen, \u200cjoiner\u200d",
    "a b  c   d    e\t\tf \n g\n\nh\n\n\n  i \r\n j  \n",
    "<s> </s> <|endoftext|> [SEP] <unk> <tool> covid ingcovid COVID covid19 <pad>",
)
"""What vocabularies are trained on: prose, code, scripts, digits, marks and white space."""

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN35 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
    "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
)
DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}")
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
SUPERBPE = (r"\p{N}+", r"(?=(\d{3})+(?!\d))")


def token(id: int, content: str, **flags: bool) -> Json:
    """An entry of `added_tokens`."""
    usual = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"id": id, "content": content, **usual, **flags}


def sequence(kind: str, parts: Sequence[Json]) -> Json:
    """A normalizer or pre-tokenizer of several parts."""
    return {"type": "Sequence", kind: list(parts)}


def splitters(*parts: Json) -> Json:
    return sequence("pretokenizers", parts)


def normalizers(*parts: Json) -> Json:
    return sequence("normalizers", parts)


def split(pattern: str, behavior: str = "Isolated", *, invert: bool = False) -> Json:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": behavior,
        "invert": invert,
    }


def literal(pattern: str, behavior: str) -> Json:
    return {
        "type": "Split",
        "pattern": {"String": pattern},
        "behavior": behavior,
        "invert": False,
    }


def byte_level(*, prefix: bool = False, regex: bool = True) -> Json:
    return {
        "type": "ByteLevel",
        "add_prefix_space": prefix,
        "trim_offsets": True,
        "use_regex": regex,
    }


def metaspace(scheme: str, *, split: bool = True, replacement: str = "▁") -> Json:
    return {
        "type": "Metaspace",
        "replacement": replacement,
        "prepend_scheme": scheme,
        "split": split,
    }


def replace(pattern: str, content: str, *, kind: str = "String") -> Json:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def bert_normalizer(*, lowercase: bool = True, chinese: bool = True) -> Json:
    return {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": chinese,
        "strip_accents": None,
        "lowercase": lowercase,
    }


PREPEND = {"type": "Prepend", "prepend": "▁"}
SPACES = replace(" ", "▁")
DIGITS = {"type": "Digits", "individual_digits": True}
DIGIT_RUNS = {"type": "Digits", "individual_digits": False}
WHITESPACE = {"type": "Whitespace"}
WHITESPACE_SPLIT = {"type": "WhitespaceSplit"}
BERT = {"type": "BertPreTokenizer"}


def punctuation(behavior: str = "Isolated") -> Json:
    return {"type": "Punctuation", "behavior": behavior}


@cache
def trained(model: str) -> str:
    """The file of a freshly trained model, with nothing around it."""
    import tokenizers as t

    pre, decoder = t.pre_tokenizers, t.decoders
    specials = ["<unk>", "<s>", "</s>"]
    trainer: Any
    if model == "byte-level":
        made = t.Tokenizer(t.models.BPE())
        made.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
        made.decoder = decoder.ByteLevel()
        trainer = t.trainers.BpeTrainer(
            vocab_size=700,
            initial_alphabet=pre.ByteLevel.alphabet(),
            special_tokens=["<|endoftext|>"],
            show_progress=False,
        )
    elif model == "byte-fallback":
        made = t.Tokenizer(t.models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        made.pre_tokenizer = pre.Metaspace()
        made.decoder = decoder.Sequence(
            [decoder.Replace("▁", " "), decoder.ByteFallback(), decoder.Fuse()]
        )
        trainer = t.trainers.BpeTrainer(
            vocab_size=900,
            special_tokens=[*specials, *(f"<0x{byte:02X}>" for byte in range(256))],
            limit_alphabet=180,
            show_progress=False,
        )
    elif model == "suffix":
        made = t.Tokenizer(t.models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
        made.pre_tokenizer = pre.BertPreTokenizer()
        made.decoder = decoder.BPEDecoder()
        trainer = t.trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=specials,
            end_of_word_suffix="</w>",
            show_progress=False,
        )
    elif model == "prefix":
        made = t.Tokenizer(t.models.BPE(unk_token="<unk>", continuing_subword_prefix="##"))
        made.pre_tokenizer = pre.BertPreTokenizer()
        trainer = t.trainers.BpeTrainer(
            vocab_size=700,
            special_tokens=specials,
            continuing_subword_prefix="##",
            show_progress=False,
        )
    elif model == "characters":
        made = t.Tokenizer(t.models.BPE(unk_token="<unk>"))
        made.pre_tokenizer = pre.Whitespace()
        trainer = t.trainers.BpeTrainer(
            vocab_size=500, special_tokens=specials, limit_alphabet=120, show_progress=False
        )
    elif model == "unigram":
        made = t.Tokenizer(t.models.Unigram())
        made.pre_tokenizer = pre.Metaspace()
        made.decoder = decoder.Metaspace()
        trainer = t.trainers.UnigramTrainer(
            vocab_size=400, special_tokens=specials, unk_token="<unk>", show_progress=False
        )
    elif model == "wordpiece":
        made = t.Tokenizer(t.models.WordPiece(unk_token="[UNK]"))
        made.pre_tokenizer = pre.BertPreTokenizer()
        made.decoder = decoder.WordPiece()
        trainer = t.trainers.WordPieceTrainer(
            vocab_size=600, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False
        )
    else:
        made = t.Tokenizer(t.models.WordLevel(unk_token="[UNK]"))
        made.pre_tokenizer = pre.Whitespace()
        trainer = t.trainers.WordLevelTrainer(
            vocab_size=200, special_tokens=["[UNK]", "[SEP]"], show_progress=False
        )
    # SentencePiece never joins a line break with anything.
    apart = model in ("byte-fallback", "unigram")
    lines = [line for text in TEXTS for line in text.splitlines()] if apart else TEXTS
    made.train_from_iterator(lines, trainer)
    return str(made.to_str())


def build(
    model: str,
    *,
    normalizer: Json | None = None,
    splitter: Json | None = None,
    added: Sequence[Json] = (),
    change: Callable[[Json], None] | None = None,
    **members: Any,
) -> str:
    """The text of a file: a trained model with other parts around it.

    Args:
        model: As `trained` names it.
        normalizer: Its normalizer; none if it is left out.
        splitter: Its pre-tokenizer; none if it is left out.
        added: Tokens to add; an id below 0 counts from the end of the vocabulary.
        change: Edits the file in place.
        members: Other members of the file.
    """
    file = json.loads(trained(model))
    file["normalizer"] = normalizer
    file["pre_tokenizer"] = splitter
    file.update(members)
    vocabulary = file["model"]["vocab"]
    free = max(
        len(vocabulary), 1 + max((int(one["id"]) for one in file["added_tokens"]), default=-1)
    )
    for one in added:
        content = one["content"]
        known = vocabulary.get(content) if isinstance(vocabulary, dict) else None
        file["added_tokens"].append({**one, "id": free if known is None else known})
        free += known is None
    if change is not None:
        change(file)
    return json.dumps(file, ensure_ascii=False)


def settings(**members: Any) -> Callable[[Json], None]:
    """An edit of the model's settings."""

    def change(file: Json) -> None:
        file["model"].update(members)

    return change


def old_merges(file: Json) -> None:
    """Spells merges as lines, as files did before 2024."""
    file["model"]["merges"] = [" ".join(pair) for pair in file["model"]["merges"]]


def joined_lines(file: Json) -> None:
    """Adds tokens in which a line break stands beside other characters."""
    vocabulary = file["model"]["vocab"]
    for left, right in (("\n", "\n"), ("\n", "d"), (".", "\n")):
        for part in (left, right, left + right):
            vocabulary.setdefault(part, len(vocabulary))
        file["model"]["merges"].append([left, right])


def runs_of_lines(file: Json) -> None:
    """Adds runs of line breaks as tokens, as Gemma has them."""
    vocabulary = file["model"]["vocab"]
    for part in ("\n", "\n\n", "\n\n\n\n"):
        vocabulary.setdefault(part, len(vocabulary))
    file["model"]["merges"] += [["\n", "\n"], ["\n\n", "\n\n"]]


def without_type(file: Json) -> None:
    """Leaves the model's kind to be told from its members."""
    del file["model"]["type"]


def whole_words(file: Json) -> None:
    """Adds words that no merge makes, which `ignore_merges` still gives."""
    vocabulary = file["model"]["vocab"]
    for word in ("Ġtables", "Ġzebra", "steps"):
        vocabulary.setdefault(word, len(vocabulary))
    file["model"]["ignore_merges"] = True
    file["added_tokens"] = []


def with_split(*patterns: str, behavior: str = "Isolated", **flags: bool) -> Callable[[], str]:
    """Byte-level BPE that splits by patterns, as most models of today do."""
    parts = [split(pattern, behavior, **flags) for pattern in patterns]
    return lambda: build("byte-level", splitter=splitters(*parts, byte_level(regex=False)))


def bytes_with(*parts: Json, normalizer: Json | None = None) -> Callable[[], str]:
    """Byte-level BPE with these pre-tokenizers."""
    splitter = parts[0] if len(parts) == 1 else splitters(*parts)
    return lambda: build("byte-level", normalizer=normalizer, splitter=splitter)


def sentences(
    model: str, splitter: Json | None, normalizer: Json | None = None, **more: Any
) -> Callable[[], str]:
    """A model in the style of SentencePiece, or any other."""
    return lambda: build(model, splitter=splitter, normalizer=normalizer, **more)


def with_added(model: str, *tokens: Json, **parts: Any) -> Callable[[], str]:
    return lambda: build(model, added=tokens, **parts)


GPT2 = byte_level()
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "</s>", "type_id": 0}},
    ],
    "pair": [
        {"Sequence": {"id": "A", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 1}},
    ],
    "special_tokens": {
        "<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]},
        "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]},
    },
}
TRUNCATION = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
PADDING = {
    "strategy": {"Fixed": 32},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "<unk>",
}


def precompiled() -> Json:
    return {"type": "Precompiled", "precompiled_charsmap": charsmap()}


ZOO: dict[str, Callable[[], str]] = {
    # Byte-level BPE and the patterns of real models.
    "gpt2": bytes_with(GPT2),
    "gpt2 prefix space": bytes_with(byte_level(prefix=True)),
    "no pattern": bytes_with(byte_level(regex=False)),
    "qwen2": with_split(QWEN2),
    "qwen2 nfc": lambda: build(
        "byte-level",
        normalizer={"type": "NFC"},
        splitter=splitters(split(QWEN2), byte_level(regex=False)),
    ),
    "llama3": with_split(QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)),
    "two digits": with_split(QWEN2.replace(r"\p{N}|", r"\p{N}{1,2}|", 1)),
    "runs of digits": with_split(QWEN2.replace(r"\p{N}|", r"\p{N}+|", 1)),
    "qwen3.5": with_split(QWEN35),
    "o200k": with_split(O200K),
    "deepseek v3": with_split(*DEEPSEEK_V3),
    "deepseek coder": with_split(*DEEPSEEK_CODER),
    "bloom": with_split(BLOOM),
    "minicpm5": with_split(r"\p{N}{1,3}", QWEN2.replace(r"\p{N}|", r"\p{N}+|", 1)),
    "superbpe": with_split(*SUPERBPE),
    "not white space": with_split(r"\S+"),
    "newline pattern": with_split("\n"),
    "merged with next": with_split(r"\s", behavior="MergedWithNext"),
    "merged with previous": with_split(r"[\r\n]+", behavior="MergedWithPrevious"),
    "contiguous": with_split(r"\p{P}", behavior="Contiguous"),
    "removed": with_split(r"\s+", behavior="Removed"),
    "inverted": with_split(r"\p{L}+|\p{N}+", behavior="Removed", invert=True),
    "look-behind": with_split(r"(?<=\p{Ll})(?=\p{Lu})|(?<=[,;])\s"),
    "word characters": with_split(r"\w+|[^\w\s]+|\s+"),
    "word borders": with_split(r"\b"),
    "line ends": with_split(r"^.*$"),
    "possessive": with_split(r"\p{N}{1,3}+|\p{L}++|[^\p{L}\p{N}]"),
    "ascii classes": with_split(r"[[:alpha:]]+|[[:digit:]]|[^[:alpha:][:digit:]]+"),
    "digits": bytes_with(DIGITS, GPT2),
    "digits prefix space": bytes_with(DIGIT_RUNS, byte_level(prefix=True)),
    "white space prefix space": bytes_with(WHITESPACE_SPLIT, byte_level(prefix=True)),
    "punctuation": bytes_with(punctuation(), DIGITS, GPT2),
    "punctuation contiguous": bytes_with(punctuation("Contiguous"), byte_level(regex=False)),
    "falcon": bytes_with(punctuation("Contiguous"), GPT2, DIGIT_RUNS, split("[0-9][0-9][0-9]")),
    "falcon order": bytes_with(
        punctuation("Contiguous"), DIGIT_RUNS, split("[0-9][0-9][0-9]"), GPT2
    ),
    "literal split": bytes_with(literal(" ", "MergedWithPrevious"), byte_level(regex=False)),
    "fixed length": bytes_with({"type": "FixedLength", "length": 5}, byte_level(regex=False)),
    "unicode scripts": bytes_with({"type": "UnicodeScripts"}, byte_level(regex=False)),
    "delimiter": bytes_with(
        {"type": "CharDelimiterSplit", "delimiter": ","}, byte_level(regex=False)
    ),
    "ignore merges": lambda: build(
        "byte-level", splitter=splitters(split(QWEN2), byte_level(regex=False)), change=whole_words
    ),
    "old merges": lambda: build("byte-level", splitter=GPT2, change=old_merges),
    "no type": lambda: build("byte-level", splitter=GPT2, change=without_type),
    "byte-level normalizer": lambda: build(
        "byte-level", normalizer={"type": "ByteLevel"}, splitter=split(QWEN2)
    ),
    "byte-level nfd": bytes_with(GPT2, normalizer={"type": "NFD"}),
    "byte-level nfkc": bytes_with(GPT2, normalizer={"type": "NFKC"}),
    "byte-level nfkd": bytes_with(GPT2, normalizer={"type": "NFKD"}),
    "byte-level lowercase": bytes_with(GPT2, normalizer={"type": "Lowercase"}),
    "byte-level strip": bytes_with(
        GPT2, normalizer={"type": "Strip", "strip_left": True, "strip_right": True}
    ),
    "byte-level nmt": bytes_with(GPT2, normalizer={"type": "Nmt"}),
    "byte-level replace": bytes_with(
        GPT2, normalizer=normalizers(replace(r"\s+", " ", kind="Regex"), replace("ß", "ss"))
    ),
    "byte-level prepend": bytes_with(GPT2, normalizer={"type": "Prepend", "prepend": " "}),
    # The SentencePiece style.
    "llama2": sentences("byte-fallback", None, normalizers(PREPEND, SPACES)),
    "mistral": sentences("byte-fallback", metaspace("first", split=False)),
    "gemma": sentences("byte-fallback", literal(" ", "MergedWithPrevious"), SPACES),
    "gemma no split": sentences("byte-fallback", None, SPACES),
    "gemma line breaks": sentences("byte-fallback", None, SPACES, change=runs_of_lines),
    "mistral joined lines": sentences(
        "byte-fallback", metaspace("first", split=False), change=joined_lines
    ),
    "bpe metaspace always": sentences("byte-fallback", metaspace("always")),
    "bpe metaspace first": sentences("byte-fallback", metaspace("first")),
    "bpe metaspace never": sentences("byte-fallback", metaspace("never")),
    "bpe metaspace always whole": sentences("byte-fallback", metaspace("always", split=False)),
    "bpe metaspace underscore": sentences("byte-fallback", metaspace("always", replacement="_")),
    "bpe no fallback": sentences(
        "byte-fallback", metaspace("first"), change=settings(byte_fallback=False)
    ),
    "bpe unk not fused": sentences(
        "byte-fallback",
        metaspace("never"),
        change=settings(byte_fallback=False, fuse_unk=False),
    ),
    "bpe no unk": sentences(
        "byte-fallback", metaspace("never"), change=settings(byte_fallback=False, unk_token=None)
    ),
    "bpe digits metaspace": sentences("byte-fallback", splitters(DIGITS, metaspace("always"))),
    "bpe metaspace digits": sentences("byte-fallback", splitters(metaspace("always"), DIGITS)),
    "bpe metaspace punctuation": sentences(
        "byte-fallback", splitters(metaspace("first"), punctuation())
    ),
    "bpe nfkc metaspace": sentences("byte-fallback", metaspace("always"), {"type": "NFKC"}),
    "bpe strip metaspace": sentences(
        "byte-fallback",
        metaspace("always"),
        {"type": "Strip", "strip_left": True, "strip_right": False},
    ),
    "bpe characters": sentences("characters", WHITESPACE),
    "unigram always": sentences("unigram", metaspace("always")),
    "unigram first": sentences("unigram", metaspace("first")),
    "unigram never": sentences("unigram", metaspace("never")),
    "unigram whole": sentences("unigram", metaspace("always", split=False)),
    "unigram charsmap": lambda: build(
        "unigram", normalizer=precompiled(), splitter=metaspace("always")
    ),
    "t5": lambda: build(
        "unigram",
        normalizer=precompiled(),
        splitter=splitters(WHITESPACE_SPLIT, metaspace("always")),
    ),
    "white space split first": sentences(
        "unigram", splitters(WHITESPACE_SPLIT, metaspace("first"))
    ),
    "albert": lambda: build(
        "unigram",
        normalizer=normalizers(
            replace("``", '"'),
            replace("''", '"'),
            {"type": "NFKD"},
            {"type": "StripAccents"},
            {"type": "Lowercase"},
            precompiled(),
            replace(" {2,}", " ", kind="Regex"),
        ),
        splitter=splitters(WHITESPACE_SPLIT, metaspace("always")),
    ),
    "xlm-r": lambda: build(
        "unigram",
        normalizer=normalizers(precompiled(), replace(" {2,}", "▁", kind="Regex"), {"type": "Nmt"}),
        splitter=metaspace("always"),
        post_processor=TEMPLATE,
    ),
    # Words.
    "openai gpt": sentences("suffix", BERT, bert_normalizer()),
    "clip": sentences(
        "suffix",
        splitters(
            split(
                r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]"
                r"|[^\s\p{L}\p{N}]+",
                "Removed",
                invert=True,
            )
        ),
        normalizers({"type": "NFC"}, replace(r"\s+", " ", kind="Regex"), {"type": "Lowercase"}),
    ),
    "bpe prefix": sentences("prefix", BERT),
    "bert": sentences("wordpiece", BERT, bert_normalizer()),
    "bert cased": sentences("wordpiece", BERT, bert_normalizer(lowercase=False)),
    "bert no chinese": sentences("wordpiece", BERT, bert_normalizer(chinese=False)),
    "wordpiece white space": sentences("wordpiece", WHITESPACE, {"type": "Lowercase"}),
    "wordpiece strip accents": sentences(
        "wordpiece",
        WHITESPACE_SPLIT,
        normalizers({"type": "NFD"}, {"type": "StripAccents"}),
    ),
    "wordpiece short words": sentences(
        "wordpiece", BERT, change=settings(max_input_chars_per_word=6)
    ),
    "word level": sentences("word level", WHITESPACE),
    "word level lowercase": sentences("word level", WHITESPACE_SPLIT, {"type": "Lowercase"}),
    # Added tokens, templates, truncation and padding.
    "added plain": with_added("byte-level", token(-1, "<tool>"), splitter=GPT2),
    "added normalized": with_added(
        "byte-level", token(-1, "<tool>", normalized=True), splitter=GPT2
    ),
    "added single word": with_added(
        "byte-level", token(-1, "covid", single_word=True), splitter=GPT2
    ),
    "added strips": with_added(
        "byte-level",
        token(-1, "<tool>", lstrip=True),
        token(-1, "[SEP]", rstrip=True),
        splitter=GPT2,
    ),
    "added special strips": with_added(
        "byte-level",
        token(-1, "<tool>", lstrip=True, rstrip=True, special=True),
        splitter=GPT2,
    ),
    "added spaces": with_added(
        "byte-level",
        token(-1, "  "),
        token(-1, "   "),
        token(-1, "\n\n"),
        splitter=splitters(split(QWEN2), byte_level(regex=False)),
    ),
    "added overlap": with_added(
        "byte-level", token(-1, "<to"), token(-1, "<tool>"), token(-1, "ool> c"), splitter=GPT2
    ),
    "added in metaspace": with_added(
        "byte-fallback",
        token(-1, "covid", single_word=True, normalized=True),
        token(-1, "<tool>"),
        splitter=metaspace("first"),
    ),
    "added in prepend": with_added(
        "byte-fallback",
        token(-1, "<tool>", normalized=True),
        token(-1, "high water", normalized=True),
        normalizer=normalizers(PREPEND, SPACES),
    ),
    "added single word in bert": with_added(
        "wordpiece",
        token(-1, "covid", single_word=True, normalized=True),
        splitter=BERT,
        normalizer=bert_normalizer(),
    ),
    "added single word in metaspace": with_added(
        "byte-fallback",
        token(-1, "ый", single_word=True),
        token(-1, "covid", single_word=True),
        splitter=metaspace("first", split=False),
    ),
    "added lstrip in metaspace": with_added(
        "byte-fallback", token(-1, "<tool>", lstrip=True), splitter=metaspace("always")
    ),
    "added in bert": with_added(
        "wordpiece",
        token(-1, "covid", single_word=True),
        token(-1, "COVID", normalized=True),
        splitter=BERT,
        normalizer=bert_normalizer(),
    ),
    "added in unigram": with_added(
        "unigram",
        token(-1, "<tool>"),
        token(-1, "water", normalized=True),
        splitter=metaspace("always"),
    ),
    "template": sentences(
        "byte-fallback", metaspace("first", split=False), post_processor=TEMPLATE
    ),
    "truncation and padding": lambda: build(
        "byte-level", splitter=GPT2, truncation=TRUNCATION, padding=PADDING
    ),
    "dropout": lambda: build("byte-level", splitter=GPT2, change=settings(dropout=0.5)),
}
"""The name of each tokenizer, and what builds the text of its file."""
