//! A route that guards watch, and where the releases of its static weights are.

use super::group_spec::MemberSpec;
use crate::journal::LatchScope;
use crate::release::{ReleaseCourse, ReleasePhase, Warning};
use crate::route::{RouteId, VariantId};

/// A route that guards watch.
#[derive(Debug)]
pub(in crate::control) struct KeptRoute {
    /// Its name.
    pub name: String,
    /// Its id in the snapshot.
    pub id: RouteId,
    /// Its variants but stable, and but that of a rollout.
    pub releases: Vec<KeptRelease>,
    /// The index of its group, and its own in the group.
    pub(super) place: GroupPlace,
}

/// The place of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct GroupPlace {
    pub group: usize,
    pub member: usize,
}

/// A release that guards watch.
#[derive(Debug)]
pub(in crate::control) struct KeptRelease {
    /// Its variant.
    pub variant: VariantId,
    /// Its name and revision.
    pub key: LatchScope,
    /// Where it is.
    pub course: ReleaseCourse,
    /// The last guard that has warned.
    pub warning: Option<Warning>,
    /// The guard whose rollback waits for stable.
    pub waits: Option<Warning>,
}

impl KeptRoute {
    /// A route of a group; releases of the same variant and revision stay where they were.
    pub(super) fn new(spec: &MemberSpec<'_>, place: GroupPlace, before: Option<Self>) -> Self {
        let mut before = before.map(|route| route.releases).unwrap_or_default();
        let mut releases = Vec::new();
        for (variant, arm) in (0..).map(VariantId).zip(spec.view.arms()).skip(1) {
            if arm.by_rollout {
                continue;
            }
            let key = LatchScope { release: format!("{}:{}", spec.name, arm.name), revision: arm.revision };
            let known = before.iter().position(|release| release.key == key).map(|at| before.swap_remove(at));
            let new = || KeptRelease { variant, key, course: ReleaseCourse::default(), warning: None, waits: None };
            releases.push(match known {
                Some(release) => KeptRelease { variant, ..release },
                None => new(),
            });
        }
        Self { name: spec.name.to_owned(), id: spec.id, releases, place }
    }

    /// The names of its releases.
    pub(super) fn release_names(&self) -> Vec<String> {
        self.releases.iter().map(|release| release.key.release.clone()).collect()
    }

    /// Follows a new configuration of the route at the same place.
    pub(super) fn follow(&mut self, spec: &MemberSpec<'_>) {
        let releases = std::mem::take(&mut self.releases);
        let before = Self { name: String::new(), id: self.id, releases, place: self.place };
        *self = Self::new(spec, self.place, Some(before));
    }

    /// Whether none of its releases waits for something.
    pub(super) fn is_calm(&self) -> bool {
        let is_calm = |release: &KeptRelease| match release.course.phase() {
            ReleasePhase::Watching | ReleasePhase::Warned | ReleasePhase::RolledBack => true,
            ReleasePhase::Down | ReleasePhase::NoTarget => false,
        };
        self.releases.iter().all(is_calm)
    }
}
