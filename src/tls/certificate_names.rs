//! Selects certificates by name (RFC 6125 §6.4, RFC 9525 §6.3): exact names, and wildcards for one label.

use ahash::HashMap;

/// Indexes of certificates by name. Names are in lower case.
#[derive(Clone, Debug, Default)]
pub struct CertificateNames {
    exact: HashMap<Box<str>, Vec<usize>>,
    /// By the part after `*.`.
    wildcard: HashMap<Box<str>, Vec<usize>>,
}

impl CertificateNames {
    /// Adds the certificate with index `at` for `name`, after those that have the name already.
    pub fn add(&mut self, name: &str, at: usize) {
        let (map, name) = match name.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcard, parent),
            None => (&mut self.exact, name),
        };
        map.entry(name.into()).or_default().push(at);
    }

    /// The indexes of the certificates for a name: those with exactly this name, or else those with a wildcard for its
    /// first label.
    #[must_use]
    pub fn find(&self, name: &str) -> &[usize] {
        let exact = self.exact.get(name);
        let found = exact.or_else(|| name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent)));
        found.map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_matches_one_label_and_an_exact_name_wins() {
        let mut names = CertificateNames::default();
        for (at, name) in ["shop.example.com", "*.example.com", "*.example.com", "*.a.example.com"].iter().enumerate() {
            names.add(name, at);
        }
        for (name, found) in [
            ("shop.example.com", &[0][..]),
            ("other.example.com", &[1, 2]),
            ("x.a.example.com", &[3]),
            ("x.y.example.com", &[]),
            ("example.com", &[]),
            ("*.example.com", &[1, 2]),
            ("", &[]),
        ] {
            assert_eq!(names.find(name), found, "{name}");
        }
    }
}
