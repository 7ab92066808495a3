//! Long lists come in pages, the newest first or by name. The link to the next one is in the header `Link`, as RFC 8288 has it.

use axum::Json;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::{Problem, input};

/// So many in one answer at most.
const MOST: usize = 500;

/// Part of a list, and where it goes on.
#[derive(Debug)]
pub(super) struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

/// Which part of a list by name.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ByName {
    /// Only those whose names come after this one.
    after: Option<String>,
    /// No more than so many; 1 to 500, which it is where nothing is said.
    limit: Option<usize>,
}

impl ByName {
    /// The name after which the part begins, and how many it has at most.
    ///
    /// # Errors
    /// No such names, or no such number.
    pub(super) fn part<T>(self) -> Result<(Option<T>, usize), Problem>
    where
        T: TryFrom<String, Error: std::fmt::Display>,
    {
        let after = self.after.map(input::id).transpose()?;
        Ok((after, limit(self.limit)?))
    }
}

/// How many are wanted, of those that may be.
pub(super) fn limit(wanted: Option<usize>) -> Result<usize, Problem> {
    match wanted {
        None => Ok(MOST),
        Some(wanted @ 1..=MOST) => Ok(wanted),
        Some(_) => Err(Problem::bad_request(format!("limit is 1 to {MOST}"))),
    }
}

/// For a list from the newest to the oldest: true for what comes after the one whose id is `before`; for all where there is none.
pub(super) fn older_than<T, I: PartialEq>(
    before: Option<&I>,
    id: impl Fn(&T) -> &I,
) -> impl FnMut(&T) -> bool {
    let mut passed = before.is_none();
    move |item| {
        let is_older = passed;
        passed |= before == Some(id(item));
        is_older
    }
}

impl<T> Page<T> {
    /// The first `limit` of `all`, as an answer to the call of `uri`; `id` is what the next page is asked for with, as `before`.
    pub(super) fn of(
        uri: &Uri,
        limit: usize,
        all: impl Iterator<Item = T>,
        id: impl FnOnce(&T) -> &str,
    ) -> Self {
        Self::cut(uri, limit, all, |last| ("before", id(last)))
    }

    /// The same of a list by name: the next page is asked for with `name`, as `after`.
    pub(super) fn by_name(
        uri: &Uri,
        limit: usize,
        all: impl Iterator<Item = T>,
        name: impl FnOnce(&T) -> &str,
    ) -> Self {
        Self::cut(uri, limit, all, |last| ("after", name(last)))
    }

    fn cut(
        uri: &Uri,
        limit: usize,
        mut all: impl Iterator<Item = T>,
        place: impl FnOnce(&T) -> (&'static str, &str),
    ) -> Self {
        let items: Vec<T> = all.by_ref().take(limit).collect();
        let last = items.last().filter(|_| all.next().is_some());
        let next = last.map(|last| going_on(uri, place(last)));
        Self { items, next }
    }

    /// The same page of what each of it comes to.
    pub(super) fn map<U>(self, each: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(each).collect(),
            next: self.next,
        }
    }
}

/// The same call, with that parameter in the place of the one that it had.
fn going_on(uri: &Uri, (parameter, id): (&str, &str)) -> String {
    let is_it = |pair: &str| {
        let value = pair.strip_prefix(parameter);
        value.is_some_and(|value| value.starts_with('='))
    };
    let query = uri.query().unwrap_or_default().split('&');
    let others = query.filter(|pair| !pair.is_empty() && !is_it(pair));
    let query: Vec<_> = others.map(str::to_owned).collect();
    let query = [query, vec![format!("{parameter}={id}")]]
        .concat()
        .join("&");
    format!("{}?{query}", uri.path())
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        let next = self.next.map(|next| format!("<{next}>; rel=\"next\""));
        // What came as a URI and an id has no character that a header can't have.
        let link = next.and_then(|next| HeaderValue::try_from(next).ok());
        let link = link.map(|link| [(header::LINK, link)]);
        (link, Json(self.items)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_leads_to_the_next_with_all_else_that_was_asked_and_the_last_one_nowhere() {
        let all = ["r5", "r4", "r3"];
        let next = |query: &str, limit| {
            let uri: Uri = format!("/v1/requests{query}").parse().unwrap();
            Page::of(&uri, limit, all.iter().copied(), |id| id).next
        };
        assert_eq!(next("", 2).as_deref(), Some("/v1/requests?before=r4"));
        let asked = "?state=pending&before=r9&limit=1";
        assert_eq!(
            next(asked, 1).as_deref(),
            Some("/v1/requests?state=pending&limit=1&before=r5")
        );
        assert_eq!(next("", 3), None);
    }
    #[test]
    fn a_list_by_name_goes_on_after_the_last_name_of_its_page() {
        let next = |query: &str| {
            let uri: Uri = format!("/v1/users{query}").parse().unwrap();
            let all = ["alice", "bob", "carol"];
            Page::by_name(&uri, 2, all.iter().copied(), |name| name).next
        };
        assert_eq!(next("").as_deref(), Some("/v1/users?after=bob"));
        assert_eq!(
            next("?after=abel&limit=2").as_deref(),
            Some("/v1/users?limit=2&after=bob")
        );
    }
}
