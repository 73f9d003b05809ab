//! Countries by address, out of a database in `MaxMind`'s format.

use std::net::IpAddr;

use maxminddb::{LookupResult, PathElement, Reader, WithinOptions};
use xxhash_rust::xxh3::xxh3_128;

use super::provider_file_error::ProviderFileError;
use crate::route::Country;

/// Types of databases, by a part of their name, that tell countries.
const COUNTRIES_IN: [&str; 3] = ["Country", "City", "Enterprise"];
/// How many networks of a database of another type are looked at.
const NETWORKS_MAX: usize = 10_000;

/// A database of countries.
#[derive(Debug)]
pub struct GeoDatabase {
    reader: Reader<Vec<u8>>,
    /// Of all its bytes.
    hash: u128,
}

/// Databases of the same bytes tell the same.
impl PartialEq for GeoDatabase {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl GeoDatabase {
    /// The database in these bytes.
    ///
    /// # Errors
    /// When it is none, is damaged, or tells no countries.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, ProviderFileError> {
        let bad = |what: String| ProviderFileError::new("bad-geo", what);
        let hash = xxh3_128(&bytes);
        let reader = Reader::from_source(bytes).map_err(|error| bad(format!("is no MaxMind database: {error}")))?;
        if reader.metadata().node_count == 0 {
            return Err(bad("has no networks".to_owned()));
        }
        let kind = reader.metadata().database_type.clone();
        let geo = Self { reader, hash };
        if COUNTRIES_IN.iter().any(|name| kind.contains(name)) || geo.tells_countries() {
            return Ok(geo);
        }
        Err(bad(format!("tells no countries: it is a `{}`", kind.escape_debug())))
    }

    /// Whether one of the first networks has a country.
    fn tells_countries(&self) -> bool {
        let networks = self.reader.networks(WithinOptions::default()).into_iter().flatten();
        networks.take(NETWORKS_MAX).flatten().any(|found| country_of(&found).is_some())
    }

    /// The country of an address: where it is, else where its network is registered. `None` when nobody knows, or what
    /// is written there is damaged.
    #[must_use]
    pub fn country(&self, address: IpAddr) -> Option<Country> {
        country_of(&self.reader.lookup(address.to_canonical()).ok()?)
    }
}

fn country_of(found: &LookupResult<'_, Vec<u8>>) -> Option<Country> {
    ["country", "registered_country"].into_iter().find_map(|key| {
        let path = [PathElement::Key(key), PathElement::Key("iso_code")];
        let code: Option<&str> = found.decode_path(&path).ok()?;
        Country::new(code?)
    })
}
