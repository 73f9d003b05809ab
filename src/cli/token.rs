//! `token`: a new token, or the hash of one. The token is printed once and stored nowhere.

use std::fmt::Write as _;
use std::io::Read;

use anyhow::{Context, anyhow, ensure};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::args::{NewTokenArguments, TokenArguments, TokenCommand};
use super::paint::Terminal;
use super::{Exit, out};
use crate::clock::Clock;
use crate::tls::sha256_hex;

/// What a token begins with: scanners for leaked secrets find it.
const PREFIX: &str = "pm_";
/// 256 bits.
const RANDOM_BYTES: usize = 32;
/// Bound on a token that is read.
const INPUT_BYTES_MAX: u64 = 4096;

/// Runs `token`.
///
/// # Errors
/// The system gives no random numbers, or standard input has no token.
pub fn token(arguments: &TokenArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    match &arguments.command {
        TokenCommand::New(arguments) => new(arguments, terminal),
        TokenCommand::Hash => hash(),
    }
}

fn new(arguments: &NewTokenArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    if let Some(day) = arguments.expires.as_ref().filter(|day| is_past(day)) {
        let error = terminal.stderr.red("error");
        out::print_error(&format!(
            "{error}: {day} is over\n  = help: write a day from today on, or leave --expires away"
        ));
        return Ok(Exit::Usage);
    }
    let NewToken { token, sha256: hash, toml: lines } = mint(arguments)?;
    if arguments.json {
        let (name, roles) = (&arguments.name, &arguments.roles);
        let value: Value = json!({ "token": token, "name": name, "roles": roles, "sha256": hash,
            "expires": arguments.expires, "toml": lines });
        out::print_json(&value)?;
        return Ok(Exit::Ok);
    }
    // The token alone is on standard output: a script can take it from there.
    let paint = terminal.stderr;
    out::print_error(&format!(
        "{}\n\n{}\n\nThe token of {}, which is shown only now:\n",
        paint.bold("Add this to the file that `[admin] tokens` names:"),
        paint.cyan(lines.trim_end()),
        arguments.name,
    ));
    out::print(&token)?;
    out::print_error(
        "\nIt is used by POINTSMAN_TOKEN, by --token-file FILE, or as the header `Authorization: Bearer TOKEN`.",
    );
    Ok(Exit::Ok)
}

/// A token that is new.
pub struct NewToken {
    /// The token itself. It is a secret.
    pub token: String,
    /// SHA-256 of it, in hexadecimal letters.
    pub sha256: String,
    /// The lines of the tokens file.
    pub toml: String,
}

/// Makes a token.
///
/// # Errors
/// The system gives no random numbers.
pub fn mint(arguments: &NewTokenArguments) -> anyhow::Result<NewToken> {
    let mut random = [0; RANDOM_BYTES];
    SystemRandom::new().fill(&mut random).map_err(|_| anyhow!("the system gives no random numbers"))?;
    let mut token = PREFIX.to_owned();
    for byte in random {
        let _ = write!(token, "{byte:02x}"); // writing to memory cannot fail
    }
    let sha256 = sha256_hex(token.as_bytes());
    let toml = entry(arguments, &sha256);
    Ok(NewToken { token, sha256, toml })
}

/// Whether a day is over, as the proxy counts days: in UTC.
fn is_past(day: &str) -> bool {
    let wall = SignedDuration::try_from(Clock.wall()).unwrap_or(SignedDuration::MAX);
    let now = Timestamp::UNIX_EPOCH.checked_add(wall).unwrap_or(Timestamp::MAX);
    day.parse::<Date>().is_ok_and(|day| day < now.to_zoned(TimeZone::UTC).date())
}

/// The lines of the tokens file.
fn entry(arguments: &NewTokenArguments, hash: &str) -> String {
    let NewTokenArguments { name, roles, expires, .. } = arguments;
    // Names and roles have no letter that TOML would have to escape.
    let roles: Vec<String> = roles.iter().map(|role| format!("\"{role}\"")).collect();
    let expires = expires.as_ref().map(|day| format!("expires = {day}\n")).unwrap_or_default();
    format!("[[token]]\nname    = \"{name}\"\nroles   = [{}]\nsha256  = \"{hash}\"\n{expires}", roles.join(", "))
}

fn hash() -> anyhow::Result<Exit> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(INPUT_BYTES_MAX).read_to_string(&mut text);
    read.context("cannot read a token from standard input")?;
    let token = text.trim();
    let is_word = !token.is_empty() && !token.contains(char::is_whitespace);
    ensure!(is_word, "standard input has no token: write `pointsman token hash < FILE`, with the token alone in it");
    out::print(&sha256_hex(token.as_bytes()))?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_toml() {
        let mut arguments = NewTokenArguments {
            name: "ana".to_owned(),
            roles: vec!["operator".to_owned(), "approver:tech-lead".to_owned()],
            expires: None,
            json: false,
        };
        let parsed: toml::Table = entry(&arguments, "ab").parse().unwrap();
        let token = &parsed["token"][0];
        assert_eq!((token["name"].as_str(), token["sha256"].as_str()), (Some("ana"), Some("ab")));
        assert_eq!(token["roles"][1].as_str(), Some("approver:tech-lead"));
        assert!(token.get("expires").is_none());
        arguments.expires = Some("2027-06-30".to_owned());
        let parsed: toml::Table = entry(&arguments, "ab").parse().unwrap();
        assert_eq!(parsed["token"][0]["expires"].as_datetime().unwrap().to_string(), "2027-06-30");
    }
}
