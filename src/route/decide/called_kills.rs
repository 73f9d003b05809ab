//! Kills by people, and when the streams that they cover are closed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::route::{KillScope, RouteId, VariantId};

/// A kill by a call of the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalledKill {
    /// Its scope.
    pub scope: KillScope,
    /// Streams in the scope are closed after this; zero leaves them open. `None`: `kill.close_streams` of the file.
    pub close_streams: Option<Duration>,
}

/// The called kills of an overlay, by what they cover, each with its own time limit for streams.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CalledKills {
    pub(super) all: Option<Closing>,
    pub(super) routes: BTreeMap<RouteId, Closing>,
    pub(super) variants: BTreeMap<(RouteId, VariantId), Closing>,
    pub(super) tenants: ahash::HashMap<Box<str>, Closing>,
}

/// When the streams of a kill are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// After `kill.close_streams` of the file.
    AsFile,
    /// After this.
    After(Duration),
    /// Never.
    Never,
}

/// The caller's place by which a kill selects a stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamPlace<'a> {
    /// The route.
    pub route: RouteId,
    /// The variant; `None` is a variant that the route no longer has.
    pub variant: Option<VariantId>,
    /// The caller's tenant.
    pub tenant: Option<&'a str>,
}

impl CalledKill {
    pub(super) const fn closing(&self) -> Closing {
        match self.close_streams {
            None => Closing::AsFile,
            Some(Duration::ZERO) => Closing::Never,
            Some(after) => Closing::After(after),
        }
    }
}

impl Closing {
    pub(super) fn after(self, of_file: Option<Duration>) -> Option<Duration> {
        match self {
            Self::AsFile => of_file,
            Self::After(after) => Some(after),
            Self::Never => None,
        }
    }
}

impl CalledKills {
    /// The kills that cover a stream.
    pub(super) fn covering(&self, place: StreamPlace<'_>) -> impl Iterator<Item = Closing> {
        let StreamPlace { route, variant, tenant } = place;
        let by_variant = variant.and_then(|variant| self.variants.get(&(route, variant)));
        let by_tenant = tenant.and_then(|tenant| self.tenants.get(tenant));
        [self.all.as_ref(), self.routes.get(&route), by_variant, by_tenant].into_iter().flatten().copied()
    }
}
