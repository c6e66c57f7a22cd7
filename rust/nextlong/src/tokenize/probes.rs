//! Texts on which a tokenizer is tried when it is loaded.

use super::file::Added;

/// Beginnings of chunks.
pub(super) const OPENED: [&str; 12] =
    ["a", "The cat", " sat", "  1", "\nnext", "\n\n", "\t", "é", "中文", "▁a", ".", "/a"];

/// Text of many kinds: scripts, digits, white space, code, marks and signs.
const TEXTS: [&str; 34] = [
    "The quick brown fox, it's said, can't jump over 12 lazy dogs. I'LL SEE; they'Ve gone!",
    "a I x 1 é . Q",
    "HTTPServer camelCase snake_case kebab-case x_1 foo.bar(baz)[0] != null && !done;",
    "1 22 333 4444 55555 666666 7777777 1,234,567.89 0x1F 3e-10 12:30 1\u{b2} \u{bd} \u{2167} \u{2460}",
    "٠١٢٣٤ ०१२३ 一二三 ４５６",
    "def f(x):\n    if x < 0:\n\t\treturn -x  # sign\n\n\n    return x\n",
    "fn main() {\r\n\tprintln!(\"{}\", 1 << 3);\r\n}\r\n",
    "<a href=\"https://example.org/a/b?c=d&e=f#g\">x</a> <!-- c --> // /* */ -- ++ == => ...",
    " one  two   three    \n four\n\n five\n\n\n\n six \n  \n seven\t\teight\t \tnine",
    "\n",
    "\n\n",
    " ",
    "   ",
    "\r\n \r \n\r",
    "a\u{a0}b\u{2003}c\u{3000}d\u{2028}e\u{85}f\u{b}g\u{c}h\u{1680}i\u{202f}j",
    "zero\u{200b}width \u{feff}mark so\u{ad}ft \u{200c}non\u{200c}joiner\u{200d} \u{200e}left\u{200f}",
    "\0 \u{1}\u{7f}\u{9f} a\u{0}b \u{fffd} \u{e000}",
    "Crème brûlée, naïve Ångström ÅÉ; e\u{301}tale o\u{308}\u{323} \u{301}a \n\u{301}b",
    "\u{fb01}ne \u{fb03} \u{ff21}\u{ff22}\u{ff43} \u{2122} \u{210c} \u{33a5} \u{b4}a \u{a8}b \u{3f0} ß ẞ İ ı ǅ",
    "ΟΔΟΣ Οδός ΣΑΣ. Приливы и отливы: ЁЖ, ёж й.",
    "潮汐表列出了全年每天的高潮和低潮时间。「汉字」,标点!数字123和English混合。",
    "ひらがなとカタカナ、漢字。ﾊﾝｶｸ ー々〆",
    "한국어 문장입니다. \u{1112}\u{1161}\u{11ab}글",
    "ज्वार-भाटा तालिका, बताती है। क\u{93c}\u{94d}ष",
    "جداول المَدّ والجزر، لكل يوم؟ می\u{200c}خواهم ـــ",
    "שָׁלוֹם עולם. ตารางน้ำขึ้นน้ำลง ພາສາລາວ မြန်မာ ភាសាខ្មែរ",
    "தமிழ் తెలుగు ಕನ್ನಡ മലയാളം বাংলা ગુજરાતી ਪੰਜਾਬੀ",
    "አማርኛ ქართული հայերեն Ᏸᏹ ⴰⵎⴰⵣⵉⵖ",
    "🌊🌊 👩\u{200d}👩\u{200d}👧 🇩🇪🇫🇷 👍🏽 ☺\u{fe0f} 1\u{fe0f}\u{20e3}",
    "∑∫√ α≤β → ¬p ∧ q; €5 £6 ¥7 § ¶ © № ‰ “quotes” ‘single’ «guillemets» – — … ·",
    "Ⓐⓑ ⅷ ᵃ ² ₃ ª º ʰ _ ‿ ⁀",
    "▁a ▁▁ b▁c Ġd Ċ </w> ## ##x <0x41> <unk> <s>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "----------------------------------------------------------------========================================",
];

/// Added tokens that are tried.
const MOST_ADDED: usize = 16;

/// The texts on which a tokenizer with these added tokens is tried.
pub(super) fn texts(added: &[Added]) -> Vec<String> {
    let sought = added.iter().filter(|token| !token.special).take(MOST_ADDED);
    let around = sought.flat_map(|token| {
        let token = &token.content;
        [
            token.clone(),
            format!("a{token}b {token} c\n{token}\n  {token}  d{token}{token}"),
            format!("é{token}中 {}.{}x", token.to_uppercase(), token.to_lowercase()),
        ]
    });
    OPENED.iter().chain(&TEXTS).map(|text| (*text).to_owned()).chain(around).collect()
}
