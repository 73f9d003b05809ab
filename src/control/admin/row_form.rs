//! How a row of the table of calls answers a request that is refused: a call of the API, a page for a person, or a file that
//! a page loads.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use http::HeaderMap;

use super::problem::ProblemForm;
use super::response::wants_html;

/// The form of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowForm {
    /// A call of the API: a problem document below `/v1`, else text.
    Call,
    /// A page: HTML.
    Page,
    /// HTML for browsers, else text.
    PageForBrowsers,
    /// A file that pages load.
    Asset,
}

/// The rows that are no calls of the API.
#[derive(Clone, Debug, Default)]
pub(super) struct RowForms(Arc<[PathForm]>);

#[derive(Clone, Copy, Debug)]
struct PathForm {
    path: &'static str,
    form: RowForm,
}

impl RowForm {
    /// How a request for this row is refused.
    pub fn problem_form(self, path: &str, headers: &HeaderMap) -> ProblemForm {
        match self {
            Self::Call => ProblemForm::of(path),
            Self::Page => ProblemForm::Page,
            Self::PageForBrowsers if wants_html(headers) => ProblemForm::Page,
            Self::PageForBrowsers | Self::Asset => ProblemForm::Text,
        }
    }

    /// Whether programs look for it: it is in the list of calls, and in the `OpenAPI` document.
    pub const fn is_listed(self) -> bool {
        match self {
            Self::Call | Self::PageForBrowsers => true,
            Self::Page | Self::Asset => false,
        }
    }
}

impl RowForms {
    /// Adds the form of a path.
    pub fn with(&self, path: &'static str, form: RowForm) -> Self {
        let known = self.0.iter().copied().filter(|row| row.path != path);
        Self(known.chain([PathForm { path, form }].into_iter().filter(|row| row.form != RowForm::Call)).collect())
    }

    /// How a request is refused. It has been matched with its row, if there is one.
    pub fn problem_form(&self, request: &Request) -> ProblemForm {
        let matched = request.extensions().get::<MatchedPath>();
        let row = matched.and_then(|path| self.0.iter().find(|row| row.path == path.as_str()));
        let form = row.map_or(RowForm::Call, |row| row.form);
        form.problem_form(request.uri().path(), request.headers())
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    #[test]
    fn the_form_follows_the_row_and_what_the_client_takes() {
        let with = |accept: &str| {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(header::ACCEPT, accept.parse().expect("a value"));
            }
            headers
        };
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (form, path, accept, expected) in [
            (RowForm::Call, "/v1/kill", browser, ProblemForm::Document),
            (RowForm::Call, "/reload", browser, ProblemForm::Text),
            (RowForm::Page, "/routes", "*/*", ProblemForm::Page),
            (RowForm::PageForBrowsers, "/", browser, ProblemForm::Page),
            (RowForm::PageForBrowsers, "/", "application/json, Text/HTML;q=0.1", ProblemForm::Page),
            (RowForm::PageForBrowsers, "/", "*/*", ProblemForm::Text),
            (RowForm::PageForBrowsers, "/", "", ProblemForm::Text),
            (RowForm::PageForBrowsers, "/", "text/htmlx", ProblemForm::Text),
            (RowForm::Asset, "/assets/dashboard.css", browser, ProblemForm::Text),
        ] {
            assert_eq!(form.problem_form(path, &with(accept)), expected, "{form:?} {path} {accept}");
        }
    }
}
