//! The rollouts of all files by their names, for the tables that refer to them.

use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::reader::Reader;
use crate::config::toml::registry::Registry;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::suggest::did_you_mean;
use crate::route::{Rollout, RolloutId, RolloutMember, Route, RouteId, Stage, VariantId};

/// The rollouts of all files, in the order of their names.
pub(in crate::config) struct KnownRollouts<'d> {
    names: Registry<'d>,
    /// `None`: it is no table.
    all: Vec<Option<ReadRollout<'d>>>,
}

/// A rollout, with its places. What refers to others is not resolved yet.
pub(in crate::config) struct ReadRollout<'d> {
    pub(in crate::config) rollout: Rollout,
    pub(in crate::config) reader: Reader<'d>,
    /// The place of its name.
    pub(in crate::config) name_at: Span,
    /// `requires` as it is written.
    pub(in crate::config) requires: Vec<SpannedString<'d>>,
}

impl<'d> KnownRollouts<'d> {
    /// The rollouts in the order of their names.
    pub(super) const fn new(names: Registry<'d>, all: Vec<Option<ReadRollout<'d>>>) -> Self {
        Self { names, all }
    }

    /// The rollout with a name; reports one that does not exist.
    pub(in crate::config) fn find(&mut self, context: &mut Context<'_>, name: &SpannedString<'_>) -> Option<RolloutId> {
        self.names.find(context, name).map(RolloutId)
    }

    /// Whether a rollout was found since the last call.
    pub(in crate::config) fn take_found(&mut self) -> bool {
        !self.names.take_found().is_empty()
    }

    /// A rollout with its places.
    pub(in crate::config) fn get(&self, id: RolloutId) -> Option<&ReadRollout<'d>> {
        self.all.get(id.0 as usize)?.as_ref()
    }

    /// All rollouts with their places.
    pub(in crate::config) fn each(&self) -> impl Iterator<Item = (RolloutId, &ReadRollout<'d>)> {
        (0..).map(RolloutId).zip(&self.all).filter_map(|(id, one)| Some((id, one.as_ref()?)))
    }

    /// All rollouts, to be changed.
    pub(super) fn each_mut(&mut self) -> impl Iterator<Item = &mut ReadRollout<'d>> {
        self.all.iter_mut().flatten()
    }

    /// The stage with a name; reports one that does not exist.
    pub(in crate::config) fn find_stage(
        &self,
        context: &mut Context<'_>,
        id: RolloutId,
        name: &SpannedString<'_>,
    ) -> Option<usize> {
        let plan = &self.get(id)?.rollout.plan;
        let found = plan.find(name);
        if found.is_none() && !plan.stages.is_empty() {
            self.refuse_stage(context, id, name);
        }
        found
    }

    fn refuse_stage(&self, context: &mut Context<'_>, id: RolloutId, name: &SpannedString<'_>) {
        let Some(one) = self.get(id) else { return };
        let stages = || one.rollout.plan.stages.iter().map(|stage: &Stage| stage.name.as_str());
        let message = format!("rollout `{}` has no stage `{}`", one.rollout.name, &**name);
        let known: Vec<String> = stages().map(|name| format!("`{name}`")).collect();
        let finding = Finding::error("unknown-stage", name.span, message);
        let help = did_you_mean(name, stages());
        context.report(finding.help(format!("it has {}", known.join(", "))).maybe_help(help));
    }

    /// Notes the variants that each rollout moves.
    pub(in crate::config) fn set_members(&mut self, routes: &[Option<Route>]) {
        for (route, at) in routes.iter().zip(0..) {
            let Some(split) = route.as_ref().and_then(Route::split) else { continue };
            let last = u16::try_from(split.variants.len() - 1).map_or(VariantId::STABLE, VariantId);
            let of = split.rollout.and_then(|id| self.all.get_mut(id.0 as usize)).and_then(Option::as_mut);
            let Some(one) = of else { continue };
            debug_assert!(last != VariantId::STABLE, "a rollout moves a variant");
            one.rollout.members.push(RolloutMember { route: RouteId(at), variant: last });
        }
    }

    /// The compiled rollouts; `None` if one has errors.
    pub(in crate::config) fn into_compiled(self) -> Option<Vec<Rollout>> {
        let all: Vec<Rollout> = self.all.into_iter().map(|one| Some(one?.rollout)).collect::<Option<_>>()?;
        debug_assert!(all.is_sorted_by(|a, b| a.name < b.name), "rollouts are found by their order");
        Some(all)
    }
}
