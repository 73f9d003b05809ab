//! A sketch of routes: a small routes file made from a few addresses. `init` writes it, `run --to` runs it as it is.

use std::net::SocketAddr;
use std::str::FromStr;

use super::address;

/// The default target of requests.
const TO: &str = "http://127.0.0.1:3000";
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9900);

/// What the file is made from.
#[derive(Clone, Debug, Default)]
pub struct Sketch {
    /// The endpoints of stable.
    pub to: Vec<String>,
    /// The canary.
    pub canary: Option<Canary>,
    /// Where clients connect.
    pub listen: Option<SocketAddr>,
    /// Where admin listens.
    pub admin: Option<SocketAddr>,
}

/// `URL=WEIGHT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// Its endpoint.
    pub url: String,
    /// Its weight in percent, as the file writes it.
    pub weight: String,
}

impl FromStr for Canary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((url, weight)) = text.rsplit_once('=') else {
            return Err(format!("write URL=WEIGHT with the weight in percent, for example {text}=5"));
        };
        let url = address::endpoint(url)?;
        let weight = weight.strip_suffix('%').unwrap_or(weight).trim();
        let (whole, part) = weight.split_once('.').unwrap_or((weight, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let percent: Option<f64> = weight.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
        if percent.is_none() || !digits(whole) || !digits(part) || part.len() > 4 {
            return Err(format!(
                "`{weight}` is not a valid weight: write a percentage from 0 to 100, with at most four decimals"
            ));
        }
        // The file's grammar has no leading zeros.
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        let weight = if weight.contains('.') { format!("{whole}.{part}") } else { whole.to_owned() };
        Ok(Self { url, weight })
    }
}

impl Sketch {
    /// The endpoints of stable.
    fn endpoints(&self) -> Vec<&str> {
        if self.to.is_empty() { vec![TO] } else { self.to.iter().map(String::as_str).collect() }
    }

    /// Where clients connect.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen.unwrap_or(LISTEN)
    }

    /// What goes where, in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let stable = self.endpoints().join(", ");
        match &self.canary {
            Some(Canary { url, weight }) => format!("{stable}, {weight} % to {url}"),
            None => stable,
        }
    }

    /// The routes file.
    #[must_use]
    pub fn text(&self) -> String {
        let quoted: Vec<String> = self.endpoints().iter().map(|endpoint| format!("\"{endpoint}\"")).collect();
        let (listen, admin) = (self.listen(), self.admin.unwrap_or(ADMIN));
        let (upstream, canary) = match &self.canary {
            Some(Canary { url, weight }) => (
                format!("[upstream.app-v2]\nendpoints = [\"{url}\"]\n"),
                format!("canary = {{ upstream = \"app-v2\", weight = {weight} }}     # percent of the callers\n"),
            ),
            None => (
                "# [upstream.app-v2]\n# endpoints = [\"http://127.0.0.1:3001\"]\n".to_owned(),
                "# canary = { upstream = \"app-v2\", weight = 5 }     # percent of the callers\n".to_owned(),
            ),
        };
        let canary_says = match &self.canary {
            Some(_) => "The new version. Its weight is set below, in `[[route]]`.",
            None => "The new version. For a canary, remove the `#` here and before `canary` below.",
        };
        format!(
            "\
# Routes of Pointsman. Edit first: the `endpoints`, which are the addresses of your services.
# Every save is checked and takes effect at once; `pointsman check` shows mistakes before.

schema = 1

# Where clients connect. \"0.0.0.0:{port}\" also accepts connections from other machines.
[[listener]]
address = \"{listen}\"

# Status, metrics, reload: for you, not for clients.
[admin]
address = \"{admin}\"

# The version that serves now. More addresses share the requests.
[upstream.app-v1]
endpoints = [{endpoints}]

# {canary_says}
{upstream}
[[route]]
name   = \"app\"
match  = {{ path = \"/*\" }}
stable = \"app-v1\"
{canary}sticky_cookie = \"pm_id\"     # a caller keeps its version: the proxy sets this cookie

# In an incident: `variants = [\"app:canary\"]` takes all callers off the canary at the next save.
[kill]
variants = []
",
            port = listen.port(),
            endpoints = quoted.join(", "),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    #[test]
    fn weights_as_people_type_them() {
        for (typed, url, weight) in [
            ("3001=5", "http://127.0.0.1:3001", "5"),
            ("app:3001=12.5%", "http://app:3001", "12.5"),
            ("https://app=05", "https://app", "5"),
            (":1=0.0001", "http://127.0.0.1:1", "0.0001"),
            (":1=100", "http://127.0.0.1:1", "100"),
        ] {
            let expected = Canary { url: url.to_owned(), weight: weight.to_owned() };
            assert_eq!(typed.parse::<Canary>(), Ok(expected), "{typed}");
        }
        for (typed, why) in [
            ("app:3001", "app:3001=5"),
            ("app:3001=", "0 to 100"),
            ("app:3001=101", "0 to 100"),
            ("app:3001=-1", "0 to 100"),
            ("app:3001=1e1", "0 to 100"),
            ("app:3001=0.00001", "four decimals"),
            ("app/x=5", "no path"),
        ] {
            let refused = typed.parse::<Canary>().expect_err(typed);
            assert!(refused.contains(why), "{typed}: {refused}");
        }
    }

    #[test]
    fn every_sketch_is_a_good_file_without_warnings() {
        let canary = |text: &str| Some(text.parse().unwrap());
        for sketch in [
            Sketch::default(),
            Sketch { to: vec![TO.to_owned(), "http://[::1]:1".to_owned()], ..Sketch::default() },
            Sketch { to: vec![TO.to_owned()], canary: canary("3001=5"), ..Sketch::default() },
            Sketch { canary: canary("h2c://app=0"), listen: "[::]:80".parse().ok(), ..Sketch::default() },
            Sketch { canary: canary("app=12.5"), admin: "127.0.0.2:1".parse().ok(), ..Sketch::default() },
        ] {
            let text = sketch.text();
            let loaded = load_text("sketch.toml", &text, &|_| None).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
            assert!(loaded.warnings.is_empty(), "{}\n{text}", loaded.warnings);
            assert!(text.lines().all(|line| line.len() <= 100), "{text}");
            // What stands behind a `#` is right as well.
            let open = text.replace("# [", "[").replace("# endpoints", "endpoints").replace("# canary =", "canary =");
            let loaded = load_text("sketch.toml", &open, &|_| None).unwrap_or_else(|errors| panic!("{errors}\n{open}"));
            assert_eq!((loaded.rules.upstreams.len(), loaded.warnings.len()), (2, 0), "{}", loaded.warnings);
        }
    }
}
