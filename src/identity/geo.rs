//! Looks up the country of an address in a database in `MaxMind`'s format.

use std::net::IpAddr;

use maxminddb::{LookupResult, PathElement, Reader, WithinOptions};
use xxhash_rust::xxh3::xxh3_128;

use super::provider_file_error::ProviderFileError;
use crate::route::Country;

/// Parts of the type names of databases that have countries.
const COUNTRY_TYPES: [&str; 3] = ["Country", "City", "Enterprise"];
/// In a database of another type, at most this many networks are searched for a country.
const NETWORKS_MAX: usize = 10_000;

/// A database of countries.
#[derive(Debug)]
pub struct GeoDatabase {
    reader: Reader<Vec<u8>>,
    /// The hash of the whole file.
    hash: u128,
}

/// Two databases are equal if their files are.
impl PartialEq for GeoDatabase {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl GeoDatabase {
    /// Reads a database.
    ///
    /// # Errors
    /// The bytes are not such a database, are damaged, or have no countries.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, ProviderFileError> {
        let bad = |what: String| ProviderFileError::new("bad-geo", what);
        let hash = xxh3_128(&bytes);
        let reader = Reader::from_source(bytes).map_err(|error| bad(format!("is not a MaxMind database: {error}")))?;
        if reader.metadata().node_count == 0 {
            return Err(bad("has no networks".to_owned()));
        }
        let kind = reader.metadata().database_type.clone();
        let geo = Self { reader, hash };
        if COUNTRY_TYPES.iter().any(|name| kind.contains(name)) || geo.has_countries() {
            return Ok(geo);
        }
        Err(bad(format!("has no countries: it is of type `{}`", kind.escape_debug())))
    }

    /// Whether one of the first networks has a country.
    fn has_countries(&self) -> bool {
        let networks = self.reader.networks(WithinOptions::default()).into_iter().flatten();
        networks.take(NETWORKS_MAX).flatten().any(|found| country_of(&found).is_some())
    }

    /// The country of an address: its location, or else where its network is registered. `None` if the database has no
    /// entry for it, or the entry is damaged.
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
