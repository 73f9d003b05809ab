//! Names of users and groups, from the system's databases. A look-up may block: call it on a thread that may.

use nix::unistd::{Gid, Group, Uid, User};

/// The name of a user; `uid:N` when the system has none.
pub(in crate::control::admin) fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => format!("uid:{uid}"),
    }
}

/// The id of a group.
///
/// # Errors
/// When there is no such group, with a message.
pub(in crate::control::admin) fn group_id(name: &str) -> Result<u32, String> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(Gid::as_raw(group.gid)),
        Ok(None) => Err(format!("there is no group `{name}` on this machine")),
        Err(error) => Err(format!("the group `{name}` cannot be looked up: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_have_names() {
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(3_999_999_999), "uid:3999999999");
        assert_eq!(group_id("root"), Ok(0));
        assert_eq!(group_id("no-such-group"), Err("there is no group `no-such-group` on this machine".to_owned()));
    }
}
