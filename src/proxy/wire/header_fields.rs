//! Read access to the fields of a head. The first stages read a head through [`HeaderFields`], so that they do not
//! depend on the crate that parsed it.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The fields of a head (RFC 9110 §5).
pub(crate) trait HeaderFields {
    /// The first value of a field.
    fn first(&self, name: &HeaderName) -> Option<&HeaderValue>;

    /// All values of a field, in their order.
    fn all<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a HeaderValue> + use<'a, Self>;

    /// All fields with their values.
    fn each(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)>;
}

impl HeaderFields for HeaderMap {
    #[inline]
    fn first(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.get(name)
    }

    #[inline]
    fn all<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a HeaderValue> + use<'a> {
        self.get_all(name).iter()
    }

    #[inline]
    fn each(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use http::header::{COOKIE, HOST};

    use super::*;

    #[test]
    fn a_head_is_read_by_name() {
        let mut fields = HeaderMap::new();
        for value in ["a=1", "b=2"] {
            fields.append(COOKIE, HeaderValue::from_static(value));
        }
        assert_eq!((fields.first(&COOKIE).unwrap(), fields.first(&HOST)), (&HeaderValue::from_static("a=1"), None));
        assert_eq!(fields.all(&COOKIE).collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert_eq!((fields.all(&HOST).count(), fields.each().count()), (0, 2));
    }
}
