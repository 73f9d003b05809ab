//! The fields of a message of HTTP/2.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::fields::Fields;

/// Fields whose values never come again. HPACK would add each to its dynamic table, where it evicts other fields (RFC
/// 7541 §6.2.3).
const UNIQUE: [HeaderName; 2] = [HeaderName::from_static("x-request-id"), HeaderName::from_static("traceparent")];

/// These fields, but those that HTTP/2 has another place for, for a message of HTTP/2.
pub(crate) fn h2_fields(fields: &Fields) -> HeaderMap {
    let mut map = fields.to_map_without(&["host", "transfer-encoding"]);
    for name in &UNIQUE {
        if let Some(value) = map.get_mut(name) {
            HeaderValue::set_sensitive(value, true);
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_request_are_not_indexed() {
        let mut fields = Fields::new();
        for name in ["accept", "x-request-id", "traceparent", "x-a"] {
            fields.append(&HeaderName::from_static(name), &HeaderValue::from_static("1"));
        }
        let map = h2_fields(&fields);
        let sensitive = map.iter().filter(|(_, value)| value.is_sensitive()).map(|(name, _)| name.as_str());
        assert_eq!(sensitive.collect::<Vec<_>>(), ["x-request-id", "traceparent"]);
        assert_eq!(map.len(), fields.len());
    }
}
