use std::collections::HashSet;

use jit_grant::Code;

#[test]
fn every_code_comes_back_from_its_text() {
    for code in Code::ALL {
        let text = code.as_str();
        assert_eq!(text.parse(), Ok(*code));
        assert_eq!(text.to_lowercase().parse(), Ok(*code));
        assert_eq!(text["JIT-".len()..].parse(), Ok(*code));
        assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{text}\""));
        assert_eq!(
            serde_json::from_str::<Code>(&format!("\"{text}\"")).unwrap(),
            *code
        );
    }
}

#[test]
fn what_is_no_code_is_refused() {
    for text in [
        "",
        "JIT",
        "JIT-",
        "JIT-1",
        "JIT-999",
        "JIT-JIT-101",
        "JIT-101 ",
        "é101",
        "ÄÖÜ101",
    ] {
        assert!(text.parse::<Code>().is_err(), "{text:?}");
    }
}

#[test]
fn codes_differ_and_are_in_order() {
    let texts: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert!(texts.is_sorted());
    assert_eq!(texts.iter().collect::<HashSet<_>>().len(), texts.len());
    assert!(texts.iter().all(|text| text.len() == "JIT-101".len()));
}

#[test]
fn every_text_of_a_code_is_clean_and_whole() {
    for code in Code::ALL {
        for text in [code.title(), code.explanation(), code.remedy()] {
            assert!(
                text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()),
                "{code}: {text}"
            );
        }
        assert!(
            !code.title().ends_with('.') && code.title().len() <= 80,
            "{code}"
        );
        assert!(
            code.explanation().ends_with('.') && code.remedy().ends_with('.'),
            "{code}"
        );
        assert!(
            code.remedy().len() <= 130,
            "{code}: a remedy is one line of a message"
        );
    }
}
