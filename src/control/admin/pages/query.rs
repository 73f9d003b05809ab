//! The parameters of pages: texts, percent-encoded as a form sends them. A page takes what a person may have edited in the
//! address: an unknown parameter is ignored, a bad value is an error that says what is wrong.

use crate::control::admin::problem::{CallProblem, ProblemKind};
use crate::control::admin::query::form_decoded;

/// The longest value, in bytes.
const VALUE_BYTES_MAX: usize = 1_024;

/// The value of a parameter; empty when it is not given.
///
/// # Errors
/// When it is given twice, too long, or no UTF-8.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Result<String, CallProblem> {
    let mut values = query.unwrap_or_default().split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    });
    let value = values.next().unwrap_or_default();
    let refuse = |why: &str| ProblemKind::BadQuery.because(format!("`{name}` {why}"), "edit the address, or go back");
    if values.next().is_some() {
        return Err(refuse("is given twice"));
    }
    let decoded = form_decoded(value).map_err(|_| refuse("is not percent-encoded UTF-8"))?;
    if decoded.len() > VALUE_BYTES_MAX {
        return Err(refuse("is longer than 1 024 bytes"));
    }
    Ok(decoded)
}

/// The value of a parameter that is a number.
///
/// # Errors
/// When it is no such number.
pub(super) fn number(query: Option<&str>, name: &str) -> Result<Option<u64>, CallProblem> {
    let value = parameter(query, name)?;
    if value.is_empty() {
        return Ok(None);
    }
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse().ok().filter(|_| is_number).map(Some).ok_or_else(|| {
        ProblemKind::BadQuery.because(format!("`{name}` is not a number"), "edit the address, or go back")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_bad_ones_are_refused() {
        let read = |query| parameter(Some(query), "text").map_err(|problem| problem.detail);
        for (query, value) in [
            ("", ""),
            ("text", ""),
            ("other=1&text=a+b%20c%C3%BC", "a b cü"),
            ("text=%3Cimg+src%3Dx%3E", "<img src=x>"),
        ] {
            assert_eq!(read(query), Ok(value.to_owned()), "{query}");
        }
        assert_eq!(read("text=a&text=b"), Err("`text` is given twice".to_owned()));
        for bad in ["text=%ff", "text=100%", "text=%zz"] {
            assert_eq!(read(bad), Err("`text` is not percent-encoded UTF-8".to_owned()));
        }
        let long = format!("text={}", "a".repeat(1_025));
        assert!(parameter(Some(&long), "text").is_err() && parameter(None, "text").is_ok());
        let number = |query| super::number(Some(query), "before").map_err(|problem| problem.detail);
        assert_eq!((number("before=12"), number("x=1")), (Ok(Some(12)), Ok(None)));
        for bad in ["before=-1", "before=+1", "before=1e3", "before=99999999999999999999", "before=%3Cb%3E"] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }
}
