//! `token`: makes tokens for the admin API.

use clap::{Args, Subcommand};

/// `token`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "\
A token is made here, on any machine; the proxy knows only its SHA-256, from the file that `[admin] tokens` names.

EXAMPLE
  pointsman token new ana --role operator
  pointsman token hash < token.txt")]
pub struct TokenArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What to do about tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token: print it once, and the lines for the tokens file
    New(NewTokenArguments),
    /// Read a token from standard input, and print its SHA-256
    Hash,
}

/// `token new`.
#[derive(Debug, Args)]
#[command(after_help = "\
ROLES
  viewer          read
  operator        read, kill, revive, reload
  approver:ROLE   approve releases as this role
  flags           evaluate all flags
  outcomes        send business events
  metrics         /metrics, /healthz and /readyz only

EXAMPLE
  pointsman token new ana --role operator
  pointsman token new ci --role viewer --expires 2027-06-30
  pointsman token new bo --role operator --json > bo.json   # .token and .toml")]
pub struct NewTokenArguments {
    /// Whose it is.
    #[arg(value_name = "NAME", value_parser = owner, help = "Whose it is: the name in the journal")]
    pub name: String,
    /// What it allows.
    #[arg(long = "role", value_name = "ROLE", required = true, value_parser = role, help = "A role; may be repeated")]
    pub roles: Vec<String>,
    /// Until when.
    #[arg(long, value_name = "DATE", value_parser = expiry)]
    #[arg(help = "Valid until the end of this day, such as 2027-06-30 [default: without an end]")]
    pub expires: Option<String>,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON: the token, its hash and the lines for the tokens file")]
    pub json: bool,
}

fn owner(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && text.len() <= 64;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte));
    let what = "a name has letters, digits, `-`, `_`, `.` and `@`, 64 at most";
    if is_name && is_plain { Ok(text.to_owned()) } else { Err(what.to_owned()) }
}

fn role(text: &str) -> Result<String, String> {
    let is_approver = text.strip_prefix("approver:").is_some_and(|role| owner(role).is_ok());
    let is_known = ["viewer", "operator", "flags", "outcomes", "metrics"].contains(&text) || is_approver;
    let what = "the roles are viewer, operator, approver:ROLE, flags, outcomes and metrics";
    if is_known { Ok(text.to_owned()) } else { Err(what.to_owned()) }
}

fn expiry(text: &str) -> Result<String, String> {
    let date = text.parse::<jiff::civil::Date>().map(|date| date.to_string());
    date.map_err(|_| "write a date such as 2027-06-30".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_roles_and_dates() {
        for good in ["ana", "ci-2", "a.b@c_d"] {
            assert_eq!(owner(good).as_deref(), Ok(good));
        }
        for bad in ["", "a b", "\"", &"x".repeat(65), "ä"] {
            assert!(owner(bad).is_err(), "{bad}");
        }
        for good in ["viewer", "operator", "approver:tech-lead", "metrics"] {
            assert_eq!(role(good).as_deref(), Ok(good));
        }
        for bad in ["admin", "approver", "approver:", "Operator"] {
            assert!(role(bad).unwrap_err().contains("operator"), "{bad}");
        }
        assert_eq!(expiry("2027-06-30").as_deref(), Ok("2027-06-30"));
        assert!(expiry("tomorrow").is_err() && expiry("2027-02-30").is_err());
    }
}
