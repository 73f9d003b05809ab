//! The running proxy of a command: the places where its admin listener may be, and one request to the first that can be
//! connected to.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use anyhow::{anyhow, bail};
use http::Response;
use hyper::body::Incoming;

use super::dial::{self, Dialled, LATE, TrustedOwner};
use super::fetch::{self, AdminResponse, FetchOptions};
use super::place::AdminPlace;
use super::token::BearerToken;

/// The variable that names the admin listener where no option does.
pub const VARIABLE: &str = "POINTSMAN_ADMIN";
/// The admin listener's TCP address where nothing names it.
const DEFAULT: &str = "http://127.0.0.1:9900";
/// The sockets that are looked for where nothing names one: of a proxy that was started here, and of the service.
const SOCKETS: [(&str, TrustedOwner); 2] =
    [("./state/run/admin.sock", TrustedOwner::Ours), ("/var/lib/pointsman/run/admin.sock", TrustedOwner::Any)];
/// Why an act does not go over TCP.
const NO_TOKEN: &str = "acting over TCP needs a token: --token-file FILE or POINTSMAN_TOKEN";

/// What a command wants of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To read; or to have its file read again, which changes nothing else.
    Read,
    /// To act.
    Act,
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The token that is sent.
    pub token: Option<BearerToken>,
    /// The file of the authorities that `https://` trusts.
    pub ca: Option<PathBuf>,
}

/// An admin listener.
#[derive(Clone, Debug)]
pub struct AdminEndpoint {
    places: Vec<Candidate>,
    origin: Origin,
    credentials: Credentials,
}

#[derive(Clone, Debug)]
struct Candidate {
    place: AdminPlace,
    owner: TrustedOwner,
    /// Why it is not used.
    refusal: Option<&'static str>,
}

/// What named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Option,
    Variable,
    Default,
}

/// A connection, and the place where it leads.
struct Reached<'a> {
    place: &'a AdminPlace,
    dialled: Dialled,
}

/// A connection that broke before the answer.
#[derive(Debug)]
struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

impl AdminEndpoint {
    /// The listener at this place.
    #[must_use]
    pub fn at(place: AdminPlace, credentials: Credentials) -> Self {
        let places = vec![Candidate { place, owner: TrustedOwner::Any, refusal: None }];
        Self { places, origin: Origin::Option, credentials }
    }

    /// The listener that an option names, else the variable, else the first of the usual places that can be connected
    /// to.
    ///
    /// # Errors
    /// The value of the variable names no place.
    pub fn find(
        option: Option<&AdminPlace>,
        variable: Option<&str>,
        purpose: Purpose,
        credentials: Credentials,
    ) -> anyhow::Result<Self> {
        if let Some(option) = option {
            return Ok(Self::at(option.clone(), credentials));
        }
        if let Some(text) = variable.filter(|text| !text.is_empty()) {
            let place = AdminPlace::named(text).map_err(|why| anyhow!("{VARIABLE} is `{text}`: {why}"))?;
            return Ok(Self { origin: Origin::Variable, ..Self::at(place, credentials) });
        }
        let is_refused = purpose == Purpose::Act && credentials.token.is_none();
        let sockets = SOCKETS.iter().map(|(path, owner)| (AdminPlace::Socket(path.into()), *owner));
        let mut places: Vec<Candidate> =
            sockets.map(|(place, owner)| Candidate { place, owner, refusal: None }).collect();
        let place = AdminPlace::Url(DEFAULT.to_owned());
        places.push(Candidate { place, owner: TrustedOwner::Any, refusal: is_refused.then_some(NO_TOKEN) });
        Ok(Self { places, origin: Origin::Default, credentials })
    }

    /// The places where it may be, for messages.
    #[must_use]
    pub fn names(&self) -> String {
        let used = self.places.iter().filter(|one| one.refusal.is_none());
        used.map(|one| one.place.to_string()).collect::<Vec<_>>().join(" or ")
    }

    /// Sends the request and waits for the response, on its own runtime.
    ///
    /// # Errors
    /// When it does not answer, with what to do.
    pub fn ask_blocking(&self, path: &str, options: FetchOptions) -> anyhow::Result<AdminResponse> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.ask(path, options))
    }

    /// Sends the request.
    ///
    /// # Errors
    /// When it does not answer, with what to do.
    pub async fn ask(&self, path: &str, options: FetchOptions) -> anyhow::Result<AdminResponse> {
        let patience = options.patience;
        let asked = tokio::time::timeout(patience, async {
            match self.ask_once(path, &options).await {
                // The connection broke: a proxy that hands over closes it. With its key, an act is done once.
                Err(error) if error.is::<Broken>() && options.sent.is_repeatable() => {
                    self.ask_once(path, &options).await
                }
                answered => answered,
            }
        });
        asked.await.unwrap_or_else(|_| Err(self.late(path)))
    }

    /// Sends the request, and returns the answer to be read as it comes, with the place that gives it.
    ///
    /// # Errors
    /// When it does not answer in time, with what to do.
    pub async fn open(&self, path: &str, options: FetchOptions) -> anyhow::Result<(String, Response<Incoming>)> {
        let opened = tokio::time::timeout(options.patience, async {
            let Reached { place, dialled } = self.reach(path, &options).await?;
            let uri = place.uri(path)?;
            let request = fetch::request(&uri, &options, self.credentials.token.as_ref(), &dialled)
                .map_err(|error| self.unanswered(place, path, &error))?;
            let answered = fetch::stream(dialled, request).await;
            Ok((place.to_string(), answered.map_err(|error| self.unanswered(place, path, &error))?))
        });
        opened.await.unwrap_or_else(|_| Err(self.late(path)))
    }

    async fn ask_once(&self, path: &str, options: &FetchOptions) -> anyhow::Result<AdminResponse> {
        let Reached { place, dialled } = self.reach(path, options).await?;
        let uri = place.uri(path)?;
        let request = fetch::request(&uri, options, self.credentials.token.as_ref(), &dialled)
            .map_err(|error| self.unanswered(place, path, &error))?;
        let answered = fetch::exchange(dialled, request).await;
        let (status, body) = answered.map_err(|error| Broken(self.unanswered(place, path, &error).to_string()))?;
        Ok(AdminResponse { place: place.to_string(), status, body })
    }

    /// Connects to the first place that can be connected to.
    async fn reach(&self, path: &str, options: &FetchOptions) -> anyhow::Result<Reached<'_>> {
        let mut tried = String::new();
        for Candidate { place, owner, refusal } in &self.places {
            let why = match refusal {
                Some(why) => (*why).to_owned(),
                None => match dial::dial(place, *owner, self.credentials.ca.as_deref(), options.patience).await {
                    Ok(dialled) => return Ok(Reached { place, dialled }),
                    Err(error) if self.places.len() == 1 => return Err(self.unanswered(place, path, &error)),
                    Err(error) => format!("{error:#}"),
                },
            };
            let _ = write!(tried, "\n  tried {place}: {why}"); // writing to memory cannot fail
        }
        bail!("no proxy answers{tried}{}", self.help())
    }

    fn late(&self, path: &str) -> anyhow::Error {
        match self.places.as_slice() {
            [only] => self.unanswered(&only.place, path, &anyhow!(LATE)),
            _ => anyhow!("{} does not answer in time{}", self.names(), self.help()),
        }
    }

    fn unanswered(&self, place: &AdminPlace, path: &str, error: &anyhow::Error) -> anyhow::Error {
        let page = match place {
            AdminPlace::Url(base) => format!("{base}{path}"),
            AdminPlace::Socket(_) => place.to_string(),
        };
        anyhow!("cannot ask {page}: {error:#}{}", self.help())
    }

    fn help(&self) -> String {
        let named = match self.origin {
            Origin::Option => "--admin names this address".to_owned(),
            Origin::Variable => format!("{VARIABLE} names this address"),
            Origin::Default => {
                format!("these are the usual places; --admin or {VARIABLE} names another: a URL or unix:/path")
            }
        };
        let there = "the address is `[admin] address` of the proxy's routes file, the socket `run/admin.sock` in its \
                     `[state] dir`";
        format!("\n  = help: {named}\n  = help: {there}")
    }
}

#[cfg(test)]
mod tests;
