//! The file that says who is told of what. Every mistake in it is told with its line and key.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use reqwest::{Certificate, Url};
use toml::de::DeTable;

use super::address::{self, Reach};
use super::chosen::Chosen;
use super::files::Files;
use super::secret::Secret;
use crate::policy::{Mistake, Reader, Value, read_text};

/// Each has a connection to the server of its own, of which an account may have 32.
const MOST_ENDPOINTS: usize = 16;
/// The secret, and those that it takes the place of or that will take its place.
const MOST_SECRETS: usize = 4;
const MOST_URL: usize = 2_048;

/// An endpoint's name: what its files are called, and part of what it is sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointName(String);

impl std::str::FromStr for EndpointName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for EndpointName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let right = (1..=32).contains(&text.len())
            && text.bytes().all(|b| plain(b) || b == b'-')
            && text.bytes().next().is_some_and(plain);
        if right {
            return Ok(Self(text));
        }
        Err("a name has 1 to 32 of a-z, 0-9 and -, and begins with a letter or digit".to_owned())
    }
}

impl EndpointName {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Where events are sent.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub(super) name: EndpointName,
    pub(super) url: Url,
    /// One at least.
    pub(super) secrets: Vec<Secret>,
    /// By the names that they have in the record.
    pub(super) events: BTreeSet<String>,
    /// Whoever answers must be vouched for by one of these. None: by one that the system trusts.
    pub(super) ca: Option<Vec<Certificate>>,
    pub(super) reach: Reach,
}

/// Reads the file at `path`, and what it names.
///
/// # Errors
/// Every mistake, in the order of their lines.
pub fn read(path: &Path, files: &Files) -> Result<Vec<Endpoint>, Vec<Mistake>> {
    let file = path.display().to_string();
    match read_text(path) {
        Ok(text) => check_text(&file, &text, files),
        Err(problem) => Err(vec![Mistake {
            file,
            line: 1,
            key: String::new(),
            problem,
        }]),
    }
}

pub(super) fn check_text(
    file: &str,
    text: &str,
    files: &Files,
) -> Result<Vec<Endpoint>, Vec<Mistake>> {
    let mut reader = Reader::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reader.mistake(&error.span().unwrap_or(0..0), "", error.message());
    }
    let endpoints = endpoints(&mut reader, table.get_ref(), files);
    reader.end(endpoints)
}

fn endpoints(reader: &mut Reader<'_>, table: &DeTable<'_>, files: &Files) -> Vec<Endpoint> {
    for key in table.keys().filter(|key| key.get_ref() != "endpoint") {
        let problem = "unknown key; there are only [[endpoint]] tables";
        reader.mistake(&key.span(), key.get_ref(), problem);
    }
    let Some(listed) = table.get("endpoint") else {
        reader.mistake(
            &(0..0),
            "endpoint",
            "missing: nobody would be told anything",
        );
        return Vec::new();
    };
    let Some(array) = listed.get_ref().as_array() else {
        reader.mistake(&listed.span(), "endpoint", "write it as [[endpoint]]");
        return Vec::new();
    };
    if array.len() > MOST_ENDPOINTS {
        let problem = format!("there are {}, and {MOST_ENDPOINTS} at most", array.len());
        reader.mistake(&listed.span(), "endpoint", problem);
    }
    let mut names = BTreeSet::new();
    let mut read = Vec::new();
    for value in array.iter() {
        let Some(table) = reader.table(value, "endpoint") else {
            continue;
        };
        let Some(endpoint) = endpoint(reader, table, value, files) else {
            continue;
        };
        if !names.insert(endpoint.name.clone()) {
            let problem = format!("{} is the name of another one, too", endpoint.name);
            reader.mistake(&value.span(), "endpoint.name", problem);
        }
        read.push(endpoint);
    }
    read
}

fn endpoint(
    reader: &mut Reader<'_>,
    table: &DeTable<'_>,
    value: &Value<'_>,
    files: &Files,
) -> Option<Endpoint> {
    const PATH: &str = "endpoint";
    let at = value.span();
    let known = ["name", "url", "secret_file", "events", "ca", "link_local"];
    reader.refuse_unknown(table, PATH, &known);
    let name = reader.required(table, &at, PATH, "name", Reader::parsed::<EndpointName>);
    let url = reader.required(table, &at, PATH, "url", Reader::text_owned);
    let events = reader.required(table, &at, PATH, "events", Reader::distinct::<Chosen>);
    let link_local = reader
        .optional(table, PATH, "link_local", Reader::flag)
        .unwrap_or(Some(false));
    let secrets = secrets(reader, table, value, files);
    let ca = table
        .get("ca")
        .map(|value| certificates(reader, value, files));
    let (url, link_local) = (url?, link_local?);
    let span = table.get("url").map_or(at, Value::span);
    let target = target(&url, link_local);
    let target = target.map_err(|problem| reader.mistake(&span, "endpoint.url", problem));
    let (url, reach) = target.ok()?;
    let events = Chosen::names(events?);
    if events.is_empty() {
        let problem = "is empty, so it would never be told anything";
        reader.mistake(&value.span(), "endpoint.events", problem);
    }
    Some(Endpoint {
        name: name?,
        url,
        secrets: secrets?,
        events,
        ca: match ca {
            None => None,
            Some(read) => Some(read?),
        },
        reach,
    })
}

/// A file, or a list of files: all of them sign.
fn secrets(
    reader: &mut Reader<'_>,
    table: &DeTable<'_>,
    endpoint: &Value<'_>,
    files: &Files,
) -> Option<Vec<Secret>> {
    const PATH: &str = "endpoint.secret_file";
    let Some(value) = table.get("secret_file") else {
        reader.mistake(&endpoint.span(), PATH, "missing");
        return None;
    };
    let one = std::slice::from_ref(value);
    let listed = value.get_ref().as_array().map_or(one, |list| list);
    if !(1..=MOST_SECRETS).contains(&listed.len()) {
        let problem = format!("name 1 to {MOST_SECRETS} files");
        reader.mistake(&value.span(), PATH, problem);
        return None;
    }
    let mut read = Vec::new();
    for value in listed {
        let Some(name) = reader.text(value, PATH) else {
            continue;
        };
        let secret = files
            .secret(name)
            .and_then(|text| text.trim_end().parse::<Secret>());
        match secret {
            Ok(secret) => read.push(secret),
            Err(problem) => reader.mistake(&value.span(), PATH, format!("{name} {problem}")),
        }
    }
    (read.len() == listed.len()).then_some(read)
}

fn certificates(
    reader: &mut Reader<'_>,
    value: &Value<'_>,
    files: &Files,
) -> Option<Vec<Certificate>> {
    const PATH: &str = "endpoint.ca";
    let name = reader.text(value, PATH)?.to_owned();
    let read = files.certificates(&name).and_then(|pem| {
        let read = Certificate::from_pem_bundle(pem.as_bytes()).unwrap_or_default();
        let some = (!read.is_empty()).then_some(read);
        some.ok_or_else(|| "has no certificate in PEM".to_owned())
    });
    read.map_err(|problem| reader.mistake(&value.span(), PATH, format!("{name} {problem}")))
        .ok()
}

/// The URL, and which addresses its host may have.
fn target(text: &str, link_local: bool) -> Result<(Url, Reach), String> {
    let url: Url = text
        .parse()
        .ok()
        .filter(|_| text.len() <= MOST_URL)
        .ok_or("is no URL of 2048 characters at most")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "has a name or password in it; the secret is what the receiver checks".to_owned(),
        );
    }
    if url.fragment().is_some() {
        return Err("has a #, which is never sent".to_owned());
    }
    let host = url.host_str().ok_or("names no host")?;
    let reach = match url.scheme() {
        "https" if link_local => Reach::Anywhere,
        "https" => Reach::NoLinkLocal,
        "http" => Reach::Loopback,
        _ => return Err("must begin with https://".to_owned()),
    };
    match address::literal(host) {
        Some(address) => reach.allows(address)?,
        None if reach == Reach::Loopback && host != "localhost" => {
            return Err("must begin with https://; http:// is for this machine alone".to_owned());
        }
        None => {}
    }
    Ok((url, reach))
}

#[cfg(test)]
mod tests;
