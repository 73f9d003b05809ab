//! `dashboard`: a link for one use that signs in to the dashboard.

use clap::Args;

use super::act::ActOutput;
use super::live::AdminArguments;

/// `dashboard`.
#[derive(Debug, Args)]
#[command(after_help = "\
The link signs in once and within a minute, as the user of this command or as the owner of its token: keep it to \
yourself. With --open the browser gets it as an argument, which other users of this machine can read.

EXIT CODES
  0   the link is printed
  1   no proxy answers, or it has no dashboard
  2   refused: no permission

EXAMPLE
  pointsman dashboard
  pointsman dashboard --open
  pointsman dashboard --host edge-1.internal      # from another machine
  pointsman dashboard --admin unix:/run/pointsman/admin.sock
  pointsman dashboard --token-file ana.token --json | jq -r .url")]
pub struct DashboardArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// The host of the link.
    #[arg(long, value_name = "NAME", value_parser = host)]
    #[arg(
        help = "The host in the link: an address of the proxy, or a name of `[admin] hosts` [default: the address of \
        its admin listener]"
    )]
    pub host: Option<String>,
    /// In a browser.
    #[arg(long, help = "Open it in the browser; where there is none, print it")]
    pub open: bool,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON: the link, and how long it is valid")]
    pub json: bool,
}

impl DashboardArguments {
    /// How the answer is printed.
    #[must_use]
    pub const fn output(&self) -> ActOutput {
        if self.json { ActOutput::Json } else { ActOutput::Text }
    }
}

/// A host as a URL has it: a name, an IPv4 address, or an IPv6 address in brackets.
fn host(text: &str) -> Result<String, String> {
    let what = || "write a host name or an IP address, without a port".to_owned();
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
        return Ok(if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() });
    }
    let is_name = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() <= 253 && name.split('.').all(is_name) { Ok(name.to_owned()) } else { Err(what()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        for (typed, expected) in [
            ("edge-1.internal", "edge-1.internal"),
            ("edge.", "edge"),
            ("10.0.0.7", "10.0.0.7"),
            ("::1", "[::1]"),
            ("[fd00::1]", "[fd00::1]"),
        ] {
            assert_eq!(host(typed).as_deref(), Ok(expected));
        }
        for bad in ["", ".", "a b", "edge:9900", "http://edge", "a/b", "a..b", &"x".repeat(254)] {
            assert!(host(bad).unwrap_err().contains("without a port"), "{bad}");
        }
    }
}
