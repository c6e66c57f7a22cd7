//! Laws of the embedders, for any texts.

use nextlong::Progress;
use nextlong::embed::{FitOptions, LsaModel};
use proptest::prelude::*;

fn fit(texts: &[&str], dim: usize, threads: usize) -> LsaModel {
    let options = FitOptions { dim, seed: 3, ..FitOptions::default() };
    LsaModel::fit(texts, options, threads, &Progress::default()).expect("a model")
}

/// Texts from a few words, so that they share some, and of anything.
fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("((one|two|three|four|Ärger|天地) ?|.){0,40}", 1..20).prop_map(
        |mut texts| {
            texts.push("one word at least".into());
            texts
        },
    )
}

/// Fifteen texts of few words: most of the directions that the fit follows are rounding alone, and
/// their eigenvalues, twenty orders of magnitude below the first, once did not converge.
#[test]
fn few_words_in_few_texts_have_directions() {
    let texts = [
        "two天地",
        "two two twoone oneeÄrger threethree four",
        "天地three three䇶twoȚ𳑥Ärger天地two ȹ天地",
        "ѨÄrgertwo=three three天地 Ärger B[three three onetwo fourfourÄrger ",
        "Ufour two \u{92}Ärger\u{1b}?Ärger .\t\\twothree \u{e0706}?\u{51611}'`:one /Yfourtwo\rfourÄrger`\"{twotwothree\u{1b}e",
        "天地\u{202e}天地 ?\u{feff}JÄrger q7three 1onefourone oneone ",
        "Ärger %V\u{202e}three fourone\\one twotwo\u{961f4}?CѨthreefour",
        "\u{feff}🕴天地\r\u{1066bd}\u{3}Ñ*=threeonetwoA$one\0one*one \u{e141b}Ärgerfour Ärgeronefour one two\"Ärger |\u{1b}one \u{b35e9}",
        "天地 one 'two🕴m$four Yone天地",
        "%bfour hthreefourone one two .<\u{3}three:two天地three*Ärgerfour\u{a4cf5}\u{830d7}8four\u{d66a4}🕴p'two onetwo\u{feff})W",
        "two #天地 \u{202e}=\u{5}fourone 天地 Ärger ;four /\u{7f}\u{b}four four three \t/one",
        "=three\0one天地 {𫱯:\u{4a321}two 天地four",
        "Ärger Ärger天地 three one '\u{e1502}天地天地 B🕴<one 天地oneѨthree threetwo `one \u{8196b}\tone\"twofour \u{ddf68}three four one ",
        "\0q\u{6} f`\u{feff}",
        "\u{b9656}Ärgeronefour three\u{202e}天地 '\u{546a1}three\"two天地ꥧ\\\u{fbe52}",
        "one word at least",
    ];
    let model = fit(&texts, 3, 1);
    let mut vector = [0.0; 3];
    assert!(model.encoder().encode(texts[4], &mut vector));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_vector_has_length_one_or_zero(texts in texts(), dim in 1usize..40, other in ".{0,80}") {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let model = fit(&texts, dim, 1);
        let mut encoder = model.encoder();
        let mut vector = vec![0.0f32; dim];
        for text in texts.iter().copied().chain([other.as_str()]) {
            let some = encoder.encode(text, &mut vector);
            let length = vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
            let expected = f64::from(u8::from(some));
            prop_assert!((length - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn neither_threads_nor_the_texts_before_change_a_bit(texts in texts(), dim in 1usize..40) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let (one, four) = (fit(&texts, dim, 1), fit(&texts, dim, 4));
        let mut encoder = one.encoder();
        let (mut left, mut right) = (vec![0.0f32; dim], vec![0.0f32; dim]);
        for text in &texts {
            encoder.encode(text, &mut left);
            four.encoder().encode(text, &mut right);
            prop_assert!(left.iter().zip(&right).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }

    #[test]
    fn a_saved_model_is_the_same_model(texts in texts(), dim in 1usize..40) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let model = fit(&texts, dim, 1);
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (folder.path().join("a"), folder.path().join("b"));
        model.save(&first).expect("saved");
        let loaded = LsaModel::load(&first).expect("loaded");
        loaded.save(&second).expect("saved");
        prop_assert_eq!(std::fs::read(&first).expect("read"), std::fs::read(&second).expect("read"));
        let (mut left, mut right) = (vec![0.0f32; dim], vec![0.0f32; dim]);
        model.encoder().encode(texts[0], &mut left);
        loaded.encoder().encode(texts[0], &mut right);
        prop_assert_eq!(left, right);
    }
}
