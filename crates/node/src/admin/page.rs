//! Lists by pages: so many entries after a place, and the place where the next page starts.

use forebay_api::{PAGE_DEFAULT, PAGE_MAX, ProblemKind};

use super::problem::No;

/// What a caller asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) limit: usize,
    /// Where the page before ended.
    pub(super) after: Option<String>,
}

/// Some entries of a list.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) entries: Vec<T>,
    /// Where it ended, when more follows.
    pub(super) next: Option<String>,
}

impl Asked {
    /// Reads `limit` and `after`.
    pub(super) fn of(query: Option<&str>) -> Result<Self, No> {
        let limit = match parameter(query, "limit") {
            None => PAGE_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=PAGE_MAX).contains(limit))
                .ok_or_else(|| bad(format!("limit is a number from 1 to {PAGE_MAX}")))?,
        };
        Ok(Self {
            limit,
            after: parameter(query, "after").map(str::to_owned),
        })
    }

    /// How many entries to pass over, where places are numbers.
    pub(super) fn passed_over(&self) -> Result<usize, No> {
        match &self.after {
            None => Ok(0),
            Some(text) => text
                .parse::<usize>()
                .ok()
                .and_then(|last| last.checked_add(1))
                .ok_or_else(|| bad("after is what the last page's Link said".into())),
        }
    }
}

impl<T> Page<T> {
    /// A list of one.
    pub(super) fn one(entry: T) -> Self {
        Self::some(Some(entry))
    }

    /// A list of one, or of none.
    pub(super) fn some(entry: Option<T>) -> Self {
        Self {
            entries: entry.into_iter().collect(),
            next: None,
        }
    }

    /// The first `limit` entries, each with its place.
    pub(super) fn of<P: ToString>(entries: impl Iterator<Item = (P, T)>, limit: usize) -> Self {
        let mut page = Self {
            entries: Vec::new(),
            next: None,
        };
        let mut last = None;
        for (place, entry) in entries {
            if page.entries.len() == limit {
                page.next = last.map(|place: P| place.to_string());
                break;
            }
            page.entries.push(entry);
            last = Some(place);
        }
        page
    }
}

/// The value of a query's parameter. Our cursors and numbers need no escapes.
pub(super) fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty())
}

fn bad(text: String) -> No {
    No::new(ProblemKind::BadRequest, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_where_the_next_begins() {
        let numbers = || (0..5).map(|number| (number, number * 10));
        let first = Page::of(numbers(), 2);
        assert_eq!(
            (first.entries, first.next.as_deref()),
            (vec![0, 10], Some("1"))
        );
        let asked = Asked::of(Some("limit=2&after=1")).expect("fits");
        assert_eq!(asked.passed_over().expect("a number"), 2);
        let last = Page::of(numbers().skip(3), 2);
        assert_eq!((last.entries, last.next), (vec![30, 40], None));
    }

    #[test]
    fn limits_and_places_that_are_none_are_refused() {
        for query in ["limit=0", "limit=1001", "limit=x"] {
            assert!(Asked::of(Some(query)).is_err(), "{query}");
        }
        let asked = Asked::of(Some("after=x")).expect("a text");
        assert!(asked.passed_over().is_err());
    }
}
