//! Who looks at a page, and what they may do: pages show the buttons of this identity alone.

use std::collections::BTreeMap;

/// Who looks at a page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Viewer {
    /// The name; `None`: reading is open, and the viewer has no identity.
    pub name: Option<String>,
    /// How they came in, as the journal writes it: `token`, `socket`, `certificate`, `loopback`.
    pub via: String,
    /// They have a session, which they can end.
    pub has_session: bool,
    /// They may kill, hold, roll back and the like.
    pub may_operate: bool,
    /// They may reload the files.
    pub may_reload: bool,
    /// By rollout: the roles as which they may approve.
    pub approves: BTreeMap<String, Vec<String>>,
}

impl Viewer {
    /// A word that changes with the identity and with what it may do: a page that is open for another one is loaded again.
    #[must_use]
    pub fn word(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        let roles: Vec<&str> = self.approves.values().flatten().map(String::as_str).collect();
        let rights = [(self.may_operate, "operate"), (self.may_reload, "reload")];
        let rights: Vec<&str> = rights.iter().filter(|right| right.0).map(|right| right.1).collect();
        format!("{name} {} {} {}", self.via, rights.join(","), roles.join(","))
    }

    /// The roles as which they may approve in a rollout.
    #[must_use]
    pub fn roles_in(&self, rollout: &str) -> &[String] {
        self.approves.get(rollout).map(Vec::as_slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_changes_with_the_identity_and_its_rights() {
        let ana = Viewer { name: Some("ana".to_owned()), via: "token".to_owned(), ..Viewer::default() };
        let roles = [("next".to_owned(), vec!["lead".to_owned()])];
        let others = [
            Viewer::default(),
            Viewer { name: Some("bo".to_owned()), ..ana.clone() },
            Viewer { may_operate: true, ..ana.clone() },
            Viewer { may_reload: true, ..ana.clone() },
            Viewer { approves: roles.into(), ..ana.clone() },
        ];
        for other in &others {
            assert_ne!(other.word(), ana.word(), "{other:?}");
        }
    }
}
