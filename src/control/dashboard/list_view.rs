//! What of a long list is shown: a filter, and a part of what fits.

use maud::{Markup, html};

use super::figures::grouped;
use super::parts::in_path;

/// What of a list is asked for, as the query has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListView<'a> {
    /// A part of a name, or a mark such as `is:killed`.
    pub filter: &'a str,
    /// How many entries come before the first that is shown.
    pub from: usize,
}

/// A list that is shown in parts.
#[derive(Clone, Copy, Debug)]
pub struct LongList {
    /// The path of its page.
    pub path: &'static str,
    /// What the filter finds, in words.
    pub label: &'static str,
    /// The link to all, in words.
    pub all: &'static str,
    /// The most entries of a page.
    pub entries_max: usize,
}

impl LongList {
    /// The address of the list from another entry on.
    pub fn at(&self, view: &ListView<'_>, from: usize) -> String {
        let mut query = Vec::new();
        if !view.filter.is_empty() {
            query.push(format!("filter={}", in_path(view.filter)));
        }
        if from > 0 {
            query.push(format!("from={from}"));
        }
        if query.is_empty() { self.path.to_owned() } else { format!("{}?{}", self.path, query.join("&")) }
    }

    /// The address of what a filter finds.
    pub fn filtered(&self, filter: &str) -> String {
        self.at(&ListView { filter, from: 0 }, 0)
    }

    /// The field of the filter: it works without script.
    pub fn form(&self, view: &ListView<'_>) -> Markup {
        html! {
            form class="filter" method="get" action=(self.path) role="search" {
                label for="filter" { (self.label) }
                input type="search" id="filter" name="filter" value=(view.filter) maxlength="256" autocomplete="off"
                    spellcheck="false" aria-keyshortcuts="/";
                button type="submit" { "Filter" }
                @if !view.filter.is_empty() { a href=(self.path) { (self.all) } }
            }
        }
    }

    /// The entries that are shown of those that fit.
    pub fn part<'l, T>(&self, view: &ListView<'_>, fitting: &'l [T]) -> &'l [T] {
        let first = view.from.min(fitting.len());
        let last = first.saturating_add(self.entries_max).min(fitting.len());
        fitting.get(first..last).unwrap_or_default()
    }

    /// Which part is shown, with links to the others; nothing when all is.
    pub fn pages(&self, view: &ListView<'_>, total: usize) -> Markup {
        let (first, most) = (view.from.min(total), self.entries_max);
        let last = first.saturating_add(most).min(total);
        let number = |count: usize| grouped(u64::try_from(count).unwrap_or(u64::MAX));
        html! {
            @if total > most || first > 0 {
                p class="pages" {
                    @if first < last { span { (number(first + 1)) " to " (number(last)) " of " (number(total)) } }
                    @if first > 0 { a href=(self.at(view, first.saturating_sub(most))) rel="prev" { "Previous " (number(most.min(first))) } }
                    @if last < total { a href=(self.at(view, last)) rel="next" { "Next " (number(most.min(total - last))) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: LongList = LongList { path: "/routes", label: "Route", all: "All routes", entries_max: 500 };

    #[test]
    fn addresses_keep_the_filter() {
        let view = ListView { filter: "a&b=c ü", from: 0 };
        assert_eq!(LIST.at(&view, 500), "/routes?filter=a%26b%3Dc%20%C3%BC&from=500");
        assert_eq!((LIST.filtered("x").as_str(), LIST.filtered("").as_str()), ("/routes?filter=x", "/routes"));
        let form = LIST.form(&ListView { filter: "<img src=x>\"", from: 0 }).into_string();
        assert!(!form.contains("<img") && form.contains("All routes"), "{form}");
    }

    #[test]
    fn all_parts_are_reached_by_links() {
        let all: Vec<usize> = (0..1_100).collect();
        let pages = |from: usize| LIST.pages(&ListView { filter: "", from }, all.len()).into_string();
        for (from, first, length, words) in [
            (0, Some(&0), 500, "1 to 500 of 1\u{a0}100"),
            (500, Some(&500), 500, "Previous 500"),
            (1_000, Some(&1_000), 100, "1\u{a0}001 to 1\u{a0}100"),
            (1_100, None, 0, "Previous 500"),
            (usize::MAX, None, 0, "from=600"),
        ] {
            let part = LIST.part(&ListView { filter: "", from }, &all);
            assert_eq!((part.first(), part.len()), (first, length), "{from}");
            assert!(pages(from).contains(words), "{from}: {}", pages(from));
        }
        assert!(!pages(1_000).contains("rel=\"next\"") && !pages(0).contains("rel=\"prev\""));
        assert_eq!(LIST.pages(&ListView::default(), 500).into_string(), "");
    }
}
