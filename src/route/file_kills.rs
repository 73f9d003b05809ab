//! The kills of the files, with their places.

use std::collections::BTreeMap;

use super::{KillScope, SourceLocation, TenantList};

/// What `[kill]` takes out of service, and where it says so.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileKills {
    /// All but tenants; the first place of each.
    scopes: BTreeMap<KillScope, SourceLocation>,
    /// `kill.tenants`: one list with one place, since it may have 100 000 names.
    tenants: Option<KilledTenants>,
}

/// `kill.tenants` and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct KilledTenants {
    /// The names; at least one.
    pub names: TenantList,
    /// The place of the list.
    pub place: SourceLocation,
}

impl FileKills {
    /// Adds a scope; the first place of a scope counts. Tenants are set by [`Self::set_tenants`].
    pub fn add(&mut self, scope: KillScope, place: SourceLocation) {
        debug_assert!(!matches!(scope, KillScope::Tenant(_)), "tenants are one list");
        self.scopes.entry(scope).or_insert(place);
    }

    /// Sets the tenants.
    pub fn set_tenants(&mut self, names: TenantList, place: SourceLocation) {
        self.tenants = (!names.is_empty()).then_some(KilledTenants { names, place });
    }

    /// Where the files kill exactly this scope; `None` if they do not.
    #[must_use]
    pub fn place_of(&self, scope: &KillScope) -> Option<&SourceLocation> {
        match scope {
            KillScope::Tenant(name) => {
                self.tenants.as_ref().filter(|all| all.names.contains(name)).map(|all| &all.place)
            }
            KillScope::All
            | KillScope::Route(_)
            | KillScope::Variant { .. }
            | KillScope::Rollout(_)
            | KillScope::Shadow(_) => self.scopes.get(scope),
        }
    }

    /// All scopes but tenants, sorted, each with its place.
    pub fn iter(&self) -> impl Iterator<Item = (&KillScope, &SourceLocation)> {
        self.scopes.iter()
    }

    /// The killed tenants, if there are any.
    #[must_use]
    pub const fn tenants(&self) -> Option<&KilledTenants> {
        self.tenants.as_ref()
    }

    /// Whether the files kill nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scopes.is_empty() && self.tenants.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32) -> SourceLocation {
        SourceLocation { file: "routes.toml".into(), line }
    }

    #[test]
    fn a_scope_has_its_first_place() {
        let mut kills = FileKills::default();
        assert!(kills.is_empty());
        kills.set_tenants(TenantList::default(), at(1));
        assert!(kills.is_empty() && kills.tenants().is_none(), "an empty list kills no tenant");
        kills.add(KillScope::Route("a".into()), at(2));
        kills.add(KillScope::Route("a".into()), at(3));
        kills.add(KillScope::Shadow("a".into()), at(4));
        kills.set_tenants(TenantList::new(["acme".into()]), at(5));
        let line = |scope: &KillScope| kills.place_of(scope).map(|place| place.line);
        assert_eq!(line(&KillScope::Route("a".into())), Some(2));
        assert_eq!(line(&KillScope::Shadow("a".into())), Some(4));
        assert_eq!(line(&KillScope::Tenant("acme".into())), Some(5));
        assert_eq!((line(&KillScope::Tenant("globex".into())), line(&KillScope::All)), (None, None));
        assert_eq!((kills.iter().count(), kills.is_empty()), (2, false));
    }
}
