//! The host of a client's requests: its normal form, and the fields that describe the client for it. The requests of a
//! connection mostly have one host, which is checked and normalized when it changes and not for each of them.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;

use crate::fields::{Fields, text};
use crate::route::normal_host;

/// A valid host.
pub(crate) struct ClientHost {
    /// As received, with its port.
    received: Box<str>,
    /// Length of the normal form, which is a prefix of the received host; unused if `normal` is set.
    bytes: usize,
    /// The normal form, if it is not a part of the received host.
    normal: Option<Box<str>>,
    /// The fields that describe the client to an upstream: made by the first request that is forwarded with them.
    pub(crate) fields: OnceCell<Fields>,
}

impl ClientHost {
    /// The host with these bytes, with its port; `None` if it is invalid. `before` is the one of the connection's last
    /// request: it is used again if it is the same.
    #[inline]
    pub(crate) fn find(before: &mut Option<Rc<Self>>, received: &[u8]) -> Option<Rc<Self>> {
        if let Some(known) = before
            && known.received.as_bytes() == received
        {
            return Some(Rc::clone(known));
        }
        let new = Rc::new(Self::new(received)?);
        *before = Some(Rc::clone(&new));
        Some(new)
    }

    #[cold]
    fn new(received: &[u8]) -> Option<Self> {
        let received = text(received)?;
        let (bytes, normal) = match normal_host(received)? {
            Cow::Borrowed(normal) => (normal.len(), None),
            Cow::Owned(normal) => (0, Some(normal.into())),
        };
        debug_assert!(normal.is_some() || received.is_char_boundary(bytes), "a borrowed host is a prefix");
        Some(Self { received: received.into(), bytes, normal, fields: OnceCell::new() })
    }

    /// As received, with its port.
    pub(crate) fn received(&self) -> &str {
        &self.received
    }

    /// The normal form.
    #[inline]
    pub(crate) fn normal(&self) -> &str {
        self.normal.as_deref().unwrap_or_else(|| self.received.get(..self.bytes).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_host_is_made_once_until_it_changes() {
        let mut before = None;
        let first = ClientHost::find(&mut before, b"a.test:80").unwrap();
        let again = ClientHost::find(&mut before, b"a.test:80").unwrap();
        assert!(Rc::ptr_eq(&first, &again));
        assert_eq!((again.received(), again.normal()), ("a.test:80", "a.test"));
        let other = ClientHost::find(&mut before, b"A.Test.").unwrap();
        assert_eq!((other.received(), other.normal()), ("A.Test.", "a.test"));
        assert_eq!(ClientHost::find(&mut before, b"[::0:1]:8").unwrap().normal(), "[::1]");
        assert_eq!(first.normal(), "a.test", "requests in flight keep their host");
    }

    #[test]
    fn an_invalid_host_replaces_none() {
        let mut before = None;
        let first = ClientHost::find(&mut before, b"a.test").unwrap();
        for bad in [&b""[..], b"a..test", b"user@a.test", b"caf\xc3\xa9", b"\xff"] {
            assert!(ClientHost::find(&mut before, bad).is_none(), "{bad:?}");
        }
        assert!(Rc::ptr_eq(&first, &ClientHost::find(&mut before, b"a.test").unwrap()));
    }

    proptest! {
        #[test]
        fn its_normal_form_is_that_of_the_rules(hosts in prop::collection::vec("[aB.:1\\[\\]-]{0,8}|[aB]\\.test(:[0-9]{0,3})?", 1..6)) {
            let mut before = None;
            for host in hosts {
                let found = ClientHost::find(&mut before, host.as_bytes());
                let normal = found.as_ref().map(|found| found.normal().to_owned());
                prop_assert_eq!(normal, normal_host(&host).map(Cow::into_owned));
            }
        }
    }
}
