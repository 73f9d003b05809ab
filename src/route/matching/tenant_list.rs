//! Lists of tenants or users.

use std::sync::Arc;

/// A set of names. Shared, so that a reload that does not change a list of 100 000 names copies nothing.
#[derive(Clone, Debug, Default)]
pub struct TenantList(Arc<ahash::HashSet<Box<str>>>);

impl PartialEq for TenantList {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl TenantList {
    /// A list of these names.
    pub fn new(names: impl IntoIterator<Item = Box<str>>) -> Self {
        Self(Arc::new(names.into_iter().collect()))
    }

    /// Whether the list contains `name`.
    #[must_use]
    #[inline]
    pub fn contains(&self, name: &str) -> bool {
        !self.is_empty() && self.0.contains(name)
    }

    /// The number of names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The names, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
