//! Who approves in the demo of a rollout: a token of the name "you", made by the demo, in two files beside the routes.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

use crate::cli::admin::{BearerToken, Credentials};
use crate::cli::args::NewTokenArguments;
use crate::cli::token;

/// The name of the token; the file of the demo lists it in `approvers`.
pub(super) const PERSON: &str = "you";
/// The file with the token itself, which only its owner reads.
pub(super) const SECRET: &str = "you.token";
/// The file that `[admin] tokens` names.
const TOKENS: &str = "tokens.toml";
/// All roles of `approvers` in the file of the demo, and the one of an operator.
const ROLES: [&str; 2] = ["operator", "approver:tech-lead"];

/// Makes the token and its two files in `dir`. Never touches a file that is there.
pub(super) fn make(dir: &Path) -> anyhow::Result<()> {
    let roles = ROLES.map(str::to_owned).to_vec();
    let made = token::mint(&NewTokenArguments { name: PERSON.to_owned(), roles, expires: None, json: false })?;
    for (name, text) in [(SECRET, format!("{}\n", made.token)), (TOKENS, made.toml)] {
        let file = dir.join(name);
        let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
        let written = open.and_then(|mut open| open.write_all(text.as_bytes()));
        written.with_context(|| format!("cannot make {}; name another directory with --dir", file.display()))?;
    }
    Ok(())
}

/// The token in `dir`.
pub(super) fn credentials(dir: &Path) -> anyhow::Result<Credentials> {
    Ok(Credentials { token: BearerToken::find(Some(&dir.join(SECRET)), None)?, ca: None })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_its_owner_alone_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path()).unwrap();
        let secret = fs::read_to_string(dir.path().join(SECRET)).unwrap();
        assert!(secret.starts_with("pm_"), "{secret}");
        for file in [SECRET, TOKENS] {
            let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{file}");
        }
        let tokens = fs::read_to_string(dir.path().join(TOKENS)).unwrap();
        assert!(tokens.contains("\"approver:tech-lead\"") && !tokens.contains(secret.trim()), "{tokens}");
        assert!(credentials(dir.path()).unwrap().token.is_some());
        let refused = format!("{:#}", make(dir.path()).unwrap_err());
        assert!(refused.contains("--dir"), "{refused}");
        assert_eq!(fs::read_to_string(dir.path().join(SECRET)).unwrap(), secret);
    }
}
