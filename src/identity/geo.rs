//! Countries by address, out of a database in `MaxMind`'s format.

use std::net::IpAddr;

use maxminddb::{PathElement, Reader};
use xxhash_rust::xxh3::xxh3_128;

use super::flaw::Flaw;
use crate::route::Country;

/// A database of countries.
#[derive(Debug)]
pub struct Geo {
    reader: Reader<Vec<u8>>,
    /// Of all its bytes.
    hash: u128,
}

/// Databases of the same bytes tell the same.
impl PartialEq for Geo {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Geo {
    /// The database in these bytes.
    ///
    /// # Errors
    /// When it is none, is damaged, or tells no countries.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Flaw> {
        let bad = |what: String| Flaw::new("bad-geo", what);
        let hash = xxh3_128(&bytes);
        let reader = Reader::from_source(bytes).map_err(|error| bad(format!("is no MaxMind database: {error}")))?;
        if reader.metadata().node_count == 0 {
            return Err(bad("has no networks".to_owned()));
        }
        Ok(Self { reader, hash })
    }

    /// The country of an address: where it is, else where its network is registered. `None` when nobody knows, or what
    /// is written there is damaged.
    #[must_use]
    pub fn country(&self, address: IpAddr) -> Option<Country> {
        let found = self.reader.lookup(address.to_canonical()).ok()?;
        ["country", "registered_country"].into_iter().find_map(|key| {
            let path = [PathElement::Key(key), PathElement::Key("iso_code")];
            let code: Option<&str> = found.decode_path(&path).ok()?;
            Country::new(code?)
        })
    }
}
