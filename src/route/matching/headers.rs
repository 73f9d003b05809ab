//! Header edits: ordered remove, set, add.

use http::HeaderName;

use crate::fields::Fields;
use crate::route::{Template, Values};

/// `route.headers.request` or `.response`: ordered remove, set, add.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderEdits {
    /// Removed first.
    pub remove: Vec<HeaderName>,
    /// Then set, replacing all lines of that name.
    pub set: Vec<(HeaderName, Template)>,
    /// Then added as another line.
    pub add: Vec<(HeaderName, Template)>,
}

impl HeaderEdits {
    /// Whether there are no edits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Whether a field is set or removed, so that the value of the client is not used.
    #[must_use]
    pub fn names(&self, field: &HeaderName) -> bool {
        self.remove.contains(field) || self.set.iter().any(|(name, _)| name == field)
    }

    /// Edits `fields`.
    pub fn apply(&self, fields: &mut Fields, values: &Values<'_>) {
        for name in &self.remove {
            fields.remove(name);
        }
        for (name, template) in &self.set {
            fields.remove(name);
            fields.append_with(name, |bytes| template.expand_into(values, bytes));
        }
        for (name, template) in &self.add {
            fields.append_with(name, |bytes| template.expand_into(values, bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::text;

    #[test]
    fn edits_are_made_in_order() {
        let name = HeaderName::from_static;
        let template = |text| Template::parse(text).unwrap();
        let edits = HeaderEdits {
            remove: vec![name("x-gone"), name("x-back")],
            set: vec![(name("x-back"), template("set")), (name("x-variant"), template("{variant}"))],
            add: vec![(name("x-back"), template("added")), (name("x-more"), template("{route}"))],
        };
        let mut fields = Fields::new();
        for (line, value) in
            [("x-gone", "1"), ("x-back", "old"), ("x-variant", "forged"), ("x-variant", "twice"), ("x-more", "kept")]
        {
            fields.append(&name(line), &value.parse().unwrap());
        }
        edits.apply(&mut fields, &Values { variant: "canary", route: "shop", ..Values::default() });
        let lines = |line: &str| fields.get_all(line).map(|value| text(value).unwrap()).collect::<Vec<_>>();
        assert_eq!(lines("x-gone"), [""; 0]);
        assert_eq!(lines("x-back"), ["set", "added"]);
        assert_eq!(lines("x-variant"), ["canary"]);
        assert_eq!(lines("x-more"), ["kept", "shop"]);
        assert!(!edits.is_empty());
        assert!(HeaderEdits::default().is_empty());
    }
}
