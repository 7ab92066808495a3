//! Golden files: messages and documents as one version wrote them, frozen. `JIT_GOLDEN=write cargo test -p jit_grant -p jit_local golden` adds
//! those that are missing, and changes none.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// Maps from names: each member of one is known.
const MAPS: [&str; 1] = ["gates"];

/// What today's reader makes of a message, in a form that can be compared; or why it does not take it.
type Reader = dyn Fn(&Value) -> Result<String, String>;

/// A kind of message or document.
pub(crate) struct Kind {
    /// Its name, and that of its files.
    pub(crate) name: &'static str,
    /// As it is written today, with everything that it may have.
    pub(crate) written: Value,
    /// Its reader.
    pub(crate) read: Box<Reader>,
}

/// Holds `kinds` to the files in `folder`, in both directions.
pub(crate) fn hold(folder: &Path, kinds: &[Kind]) {
    for Kind {
        name,
        written,
        read,
    } in kinds
    {
        let full = file(folder, &format!("{name}.json"), || written.clone());
        let required = file(folder, &format!("{name}.required.json"), || {
            required(written, &**read)
        });
        // Today's reader, what was written then: whole, with what may be absent gone, and with what it does not know.
        let whole = read(&full).unwrap_or_else(|why| panic!("{name}: {why}"));
        if full == *written {
            assert_eq!(whole, read(written).unwrap(), "{name}");
        }
        let least = read(&required).unwrap_or_else(|why| panic!("{name}, required: {why}"));
        assert_eq!(read(&with_unknown(&full)), Ok(whole), "{name}, unknown");
        assert_eq!(read(&with_unknown(&required)), Ok(least), "{name}, unknown");
        // A reader of then, what is written today: all that it needs is there, and of the type that it was.
        covers(name, &required, written);
    }
    let mut known: Vec<String> = kinds
        .iter()
        .flat_map(|kind| ["json", "required.json"].map(|end| format!("{}.{end}", kind.name)))
        .collect();
    let entries = std::fs::read_dir(folder).unwrap();
    let mut found: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    known.sort();
    found.sort();
    assert_eq!(found, known, "files of kinds that are none any more");
}

fn file(folder: &Path, name: &str, make: impl FnOnce() -> Value) -> Value {
    let path: PathBuf = folder.join(name);
    if !path.exists() && std::env::var_os("JIT_GOLDEN").is_some_and(|what| what == "write") {
        std::fs::write(&path, format!("{:#}\n", make())).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{name}: {error}; JIT_GOLDEN=write makes it, see CONTRIBUTING.md")
    });
    serde_json::from_str(&text).unwrap()
}

/// `value` without whatever the reader does not need.
fn required(value: &Value, read: &Reader) -> Value {
    let mut least = value.clone();
    for pointer in pointers(value, "") {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut less = least.clone();
        let gone = less
            .pointer_mut(parent)
            .and_then(Value::as_object_mut)
            .and_then(|object| object.remove(key));
        if gone.is_some() && read(&less).is_ok() {
            least = less;
        }
    }
    least
}

/// Holds that `null` means to the readers what it means that the member is absent, wherever it may be absent.
pub(crate) fn hold_null_for_absent(kinds: &[Kind]) {
    for Kind {
        name,
        written,
        read,
    } in kinds
    {
        for pointer in pointers(written, "") {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let mut absent = written.clone();
            let Some(Value::Object(members)) = absent.pointer_mut(parent) else {
                continue;
            };
            members.remove(key);
            let mut null = written.clone();
            *null.pointer_mut(&pointer).unwrap() = Value::Null;
            if let Ok(least) = read(&absent) {
                assert_eq!(read(&null), Ok(least), "{name}: {pointer} is null");
            }
        }
    }
}

/// Where each member of an object is, outer ones first.
fn pointers(value: &Value, at: &str) -> Vec<String> {
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (format!("{at}/{key}"), value))
            .collect(),
        Value::Array(items) => (0..)
            .zip(items)
            .map(|(place, value): (usize, _)| (format!("{at}/{place}"), value))
            .collect(),
        _ => Vec::new(),
    };
    inside
        .into_iter()
        .flat_map(|(at, value)| {
            let deeper = pointers(value, &at);
            std::iter::once(at).chain(deeper)
        })
        .collect()
}

/// With members that nobody knows, in every object.
fn with_unknown(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Map<_, _> = members
                .iter()
                .map(|(key, value)| {
                    let is_map = MAPS.contains(&key.as_str());
                    let value = if is_map {
                        value.clone()
                    } else {
                        with_unknown(value)
                    };
                    (key.clone(), value)
                })
                .collect();
            members.insert("of_a_later_version".to_owned(), json!({ "a": [1, null] }));
            Value::Object(members)
        }
        Value::Array(items) => items.iter().map(with_unknown).collect(),
        other => other.clone(),
    }
}

/// Checks that `written` has all that is `required`, and of the same types.
pub(crate) fn covers(at: &str, required: &Value, written: &Value) {
    match (required, written) {
        (Value::Object(required), Value::Object(written)) => {
            for (key, value) in required {
                let found = written.get(key);
                let found = found.unwrap_or_else(|| panic!("{at}: {key} is not written any more"));
                covers(&format!("{at}.{key}"), value, found);
            }
        }
        (Value::Array(required), Value::Array(written)) => {
            for (required, written) in required.iter().zip(written) {
                covers(&format!("{at}[]"), required, written);
            }
        }
        (required, written) => assert_eq!(
            std::mem::discriminant(required),
            std::mem::discriminant(written),
            "{at}: {required} and {written} are not of one type"
        ),
    }
}
