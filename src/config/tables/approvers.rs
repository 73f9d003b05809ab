//! `approvers` of a rollout, and whether the roles of a stage can be filled.

use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::{Span, visible};
use crate::config::toml::suggest::did_you_mean;
use crate::config::toml::value;
use crate::route::ApproverRole;

/// The most roles of a rollout, and the most people of a role.
const ROLES_MAX: usize = 32;
const PEOPLE_MAX: usize = 256;

/// The longest name of a person, in bytes, as for tokens.
const NAME_BYTES_MAX: usize = 128;

/// The roles of a rollout.
#[derive(Default)]
pub(super) struct Approvers {
    pub(super) roles: Vec<ApproverRole>,
    /// One person may fill several roles of a stage.
    pub(super) same_person: bool,
}

/// Reads `approvers` and `same_person`.
pub(super) fn approvers(context: &mut Context<'_>, reader: &Reader<'_>) -> Approvers {
    let same_person = reader.get("same_person").and_then(|item| item.boolean(context)).unwrap_or(false);
    let mut roles: Vec<ApproverRole> = Vec::new();
    let written = reader.get("approvers").map(|item| item.map(context)).unwrap_or_default();
    if written.len() > ROLES_MAX {
        let message = format!("a rollout has at most {ROLES_MAX} roles of approvers");
        context.report(Finding::error("too-many", reader.place("approvers"), message));
        return Approvers { roles, same_person };
    }
    for named in written {
        value::name(context, named.name, named.span);
        let people = people(context, &named.item, named.name);
        roles.push(ApproverRole { role: named.name.to_owned(), people });
    }
    Approvers { roles, same_person }
}

fn people(context: &mut Context<'_>, item: &Item<'_>, role: &str) -> Vec<String> {
    let items = item.one_or_more();
    if items.is_empty() {
        let finding = Finding::error("no-approver", item.span(), format!("no one can approve as `{role}`"));
        context.report(finding.help("write the names of tokens or users, such as `[\"ana\"]`, or remove the role"));
    }
    if items.len() > PEOPLE_MAX {
        let message = format!("a role has at most {PEOPLE_MAX} people");
        context.report(Finding::error("too-many", item.span(), message));
        return Vec::new();
    }
    value::parse_unique(context, &items, |context, item| {
        let name = item.text(context)?;
        let is_plain = name.chars().all(|c| visible(c) == c) && name.trim() == &*name;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !is_plain {
            let message = format!("names have 1 to {NAME_BYTES_MAX} bytes, and no control characters");
            let finding = Finding::error("bad-token-name", name.span, message);
            context.report(finding.help("write the name of a token or of a user"));
            return None;
        }
        Some(name.to_string())
    })
}

impl Approvers {
    /// Reads `approve` of a stage: roles that people can fill.
    pub(super) fn asked(&self, context: &mut Context<'_>, reader: &Reader<'_>) -> Vec<String> {
        let Some(item) = reader.get("approve") else { return Vec::new() };
        let items = item.one_or_more();
        let errors = context.errors();
        let asked = value::parse_unique(context, &items, |context, item| {
            let role = item.text(context)?;
            if self.find(&role).is_none() {
                let message = format!("`approvers` has no role `{}`", &*role);
                let known = self.roles.iter().map(|known| known.role.as_str());
                let help = did_you_mean(&role, known).unwrap_or_else(|| {
                    format!("add `approvers = {{ {} = [\"NAME\"] }}` to the rollout", value_key(&role))
                });
                context.report(Finding::error("unknown-role", role.span, message).help(help));
            }
            Some(role.to_string())
        });
        if errors == context.errors() {
            self.check_people(context, &asked, item.span());
        }
        asked
    }

    fn find(&self, role: &str) -> Option<&ApproverRole> {
        self.roles.iter().find(|known| known.role == role)
    }

    /// Reports roles that cannot all be filled, since one person fills one of them.
    fn check_people(&self, context: &mut Context<'_>, asked: &[String], at: Span) {
        let people: Vec<&[String]> = asked.iter().filter_map(|role| Some(&*self.find(role)?.people)).collect();
        if self.same_person || people.iter().any(|people| people.is_empty()) || can_fill(&people) {
            return;
        }
        let message = "these roles have too few people: one person approves as one role of a stage";
        let help =
            "add another person to one of the roles in `approvers`, or write `same_person = true` in the rollout";
        context.report(Finding::error("too-few-approvers", at, message).help(help));
    }
}

/// A role as a key.
fn value_key(role: &str) -> String {
    crate::config::toml::quote::bare(role).into_owned()
}

/// Whether each role can have a person of its own.
fn can_fill(roles: &[&[String]]) -> bool {
    // The role that each person fills; a role that finds none looks whether another one can make place.
    let mut filled: Vec<Filled<'_>> = Vec::new();
    (0..roles.len()).all(|role| place(roles, role, &mut filled, &mut Vec::new()))
}

/// A person and the role that he fills.
struct Filled<'a> {
    person: &'a str,
    role: usize,
}

fn place<'a>(roles: &[&'a [String]], role: usize, filled: &mut Vec<Filled<'a>>, seen: &mut Vec<&'a str>) -> bool {
    debug_assert!(role < roles.len() && filled.len() <= roles.len(), "a role has at most one person");
    for person in roles[role] {
        if seen.contains(&person.as_str()) {
            continue;
        }
        seen.push(person);
        let taken = filled.iter().position(|one| one.person == person);
        match taken {
            None => {
                filled.push(Filled { person, role });
                return true;
            }
            Some(at) if place(roles, filled[at].role, filled, seen) => {
                // The other role has another person now.
                if let Some(one) = filled.iter_mut().find(|one| one.person == person) {
                    one.role = role;
                }
                return true;
            }
            Some(_) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_filled_by_different_people() {
        let check = |roles: &[&[&str]], expected: bool| {
            let roles: Vec<Vec<String>> =
                roles.iter().map(|people| people.iter().map(|name| (*name).to_owned()).collect()).collect();
            let roles: Vec<&[String]> = roles.iter().map(Vec::as_slice).collect();
            assert_eq!(can_fill(&roles), expected, "{roles:?}");
        };
        check(&[], true);
        check(&[&["ana"]], true);
        check(&[&["ana"], &["ana"]], false);
        check(&[&["ana"], &["ana", "bo"]], true);
        check(&[&["ana", "bo"], &["ana"]], true);
        check(&[&["ana", "bo"], &["ana", "bo"], &["bo", "ana"]], false);
        check(&[&["ana", "bo"], &["bo", "chen"], &["ana"]], true);
        check(&[&["ana", "bo"], &["bo"], &["chen", "ana"], &["dee", "bo"]], true);
        check(&[&[]], false);
    }
}
