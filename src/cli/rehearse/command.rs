//! The command: reads the file, finds the traffic, plays, prints.

use super::figures::{RehearsalPage, zone};
use super::runs::play_all;
use super::{json, text};
use crate::cli::admin::Purpose;
use crate::cli::args::{RehearseArguments, underlined};
use crate::cli::paint::Terminal;
use crate::cli::traffic::{KnownTraffic, known_traffic, measured_traffic};
use crate::cli::{Exit, act, load, out};
use crate::clock::Clock;
use crate::compare::escape_controls;
use crate::rehearsal::{Rehearsal, RehearsalReport, Scene, timeline};
use crate::route::{Rollout, Rules};

/// Rehearses a rollout.
///
/// # Errors
/// With `--live`: no proxy answers.
pub fn rehearse(arguments: &RehearseArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    if arguments.live {
        return act::rehearse_live(&arguments.order(), terminal);
    }
    let Some(loaded) = load::load_quietly(&arguments.file, terminal.stderr) else { return Ok(Exit::BadFile) };
    let rules = &loaded.rules;
    let fail = |message: &str, help: &str| {
        out::print_error(&format!("{}: {message}\n  = help: {help}", terminal.stderr.red("error")));
        Ok(Exit::Usage)
    };
    let Some(id) = rules.find_rollout(&arguments.name) else {
        let names: Vec<&str> = rules.rollouts.iter().map(|rollout| rollout.name.as_str()).collect();
        let (file, name) = (arguments.file.display(), escape_controls(&arguments.name));
        let known =
            if names.is_empty() { "it has no rollout".to_owned() } else { format!("it has {}", names.join(", ")) };
        return fail(&format!("{file} has no rollout `{name}`"), &known);
    };
    let rollout = rules.rollout(id);
    let now_ms = u64::try_from(Clock.wall().as_millis()).unwrap_or(u64::MAX);
    let Some(begins_ms) = arguments.start.map_or(Some(now_ms), |start| start.milliseconds(&zone(rollout))) else {
        return fail("--start is before 1970", "write --start 2026-12-01 or --start 2026-12-01T09:00");
    };
    let known = match traffic(arguments, rules, rollout) {
        Ok(known) => known,
        Err(error) => {
            let help = "give --rate N, requests a second of each route, or start the proxy that measures them";
            return fail(&format!("{error:#}"), help);
        }
    };
    let approval_delay_ms = u64::try_from(arguments.approval_delay.as_millis()).unwrap_or(u64::MAX);
    let scene = Scene { rules, rollout, traffic: &known.traffic, begins_ms, approval_delay_ms };
    if let Some(fault) = &arguments.fault
        && let Err(error) = fault.check(&scene)
    {
        let shown = underlined(&fault.text, &error);
        out::print_error(&format!("{}: --fault: {shown}", terminal.stderr.red("error")));
        return Ok(Exit::Usage);
    }
    let rehearsal = Rehearsal { scene, fault: arguments.fault.as_ref(), seed: arguments.seed };
    let begun = Clock.now();
    let report = RehearsalReport::of(&play_all(&rehearsal, arguments.runs));
    let rehearsed =
        RehearsalPage { rehearsal, known: &known, timeline: timeline(&scene), report, took: begun.elapsed() };
    if arguments.json {
        out::print_json(&json::document(&rehearsed))?;
    } else {
        out::print(&text::page(&rehearsed, terminal.stdout))?;
    }
    Ok(Exit::Ok)
}

/// The traffic: given, else measured by the running proxy.
fn traffic(arguments: &RehearseArguments, rules: &Rules, rollout: &Rollout) -> anyhow::Result<KnownTraffic> {
    let given = &arguments.traffic;
    let known = known_traffic(given, None, rules, rollout);
    if arguments.admin.admin.is_none() && known.as_ref().is_ok_and(KnownTraffic::is_complete) {
        return known.map_err(|missing| anyhow::anyhow!("{missing}"));
    }
    let ask = || -> anyhow::Result<_> {
        let admin = arguments.admin.find(Purpose::Read)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(measured_traffic(&admin, &rollout.name))
    };
    let measured = match (ask(), &known) {
        (Ok(measured), _) => measured,
        // What is missing is assumed where no proxy was named.
        (Err(_), Ok(known)) if arguments.admin.admin.is_none() => return Ok(known.clone()),
        (Err(error), Ok(_)) => return Err(error),
        (Err(error), Err(missing)) => return Err(error.context(missing.to_string())),
    };
    known_traffic(given, Some(&measured), rules, rollout).map_err(|missing| anyhow::anyhow!("{missing}"))
}
