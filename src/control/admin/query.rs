//! The parameters of a call: `?name=number&…`. Each is known, and given once.

use super::problem::{CallProblem, ProblemKind};

/// A parameter that is a number.
#[derive(Clone, Copy, Debug)]
pub(super) struct NumberParameter {
    pub name: &'static str,
    pub min: u64,
    pub max: u64,
}

/// Reads these parameters; one that is not given is `None`.
///
/// # Errors
/// When one is unknown, given twice, or not a number within its bounds.
pub(super) fn numbers<const N: usize>(
    query: Option<&str>,
    known: [NumberParameter; N],
) -> Result<[Option<u64>; N], CallProblem> {
    let mut values = [None; N];
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(at) = known.iter().position(|one| one.name == name) else {
            let names: Vec<&str> = known.iter().map(|one| one.name).collect();
            let help = if names.is_empty() {
                "this call has no parameters".to_owned()
            } else {
                format!("the parameters are: {}", names.join(", "))
            };
            return Err(ProblemKind::BadQuery.because("a parameter is not known", help));
        };
        let NumberParameter { name, min, max } = known[at];
        let help = format!("write a number from {min} to {max}");
        if values[at].is_some() {
            return Err(ProblemKind::BadQuery.because(format!("`{name}` is given twice"), help));
        }
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_number && (min..=max).contains(number));
        let Some(number) = number else {
            return Err(ProblemKind::BadQuery.because(format!("`{name}` is not such a number"), help));
        };
        values[at] = Some(number);
    }
    Ok(values)
}

/// Decodes a value of a query or a form: percent-encoded, `+` for a space.
///
/// # Errors
/// When it is not so encoded, or not UTF-8, with a message.
pub(super) fn form_decoded(value: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => {
                let hex = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (Some(high), Some(low)) = (hex(high), hex(low)) else {
                    return Err(format!("{value:?} is not percent-encoded"));
                };
                bytes.push(high << 4 | low);
                rest = after;
            }
            (b'%', _) => return Err(format!("{value:?} is not percent-encoded")),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| format!("{value:?} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [NumberParameter; 2] =
        [NumberParameter { name: "after", min: 0, max: 9 }, NumberParameter { name: "limit", min: 1, max: 5 }];

    #[test]
    fn parameters_are_known_numbers_within_bounds() {
        let read = |query| numbers(query, KNOWN).map_err(|problem| problem.detail);
        assert_eq!(read(None), Ok([None, None]));
        assert_eq!(read(Some("limit=5&after=0")), Ok([Some(0), Some(5)]));
        assert_eq!(read(Some("limits=5")), Err("a parameter is not known".to_owned()));
        assert_eq!(read(Some("after=1&after=1")), Err("`after` is given twice".to_owned()));
        for bad in ["limit=0", "limit=6", "limit=", "limit", "limit=+1", "limit=1e0", "limit=99999999999999999999"] {
            assert_eq!(read(Some(bad)), Err("`limit` is not such a number".to_owned()), "{bad}");
        }
        assert!(numbers(Some("a=1"), []).is_err_and(|problem| problem.help == "this call has no parameters"));
    }
}
