//! The command: the file, what the running proxy knows, and the plays in virtual time.

use jiff::tz::TimeZone;

use super::document::document;
use super::proof::{Proof, proof};
use super::sheet::PlanSheet;
use crate::cli::admin::Purpose;
use crate::cli::args::PlanArguments;
use crate::cli::paint::Terminal;
use crate::cli::traffic::{MissingFigures, ProxyTraffic, known_traffic, measured_traffic};
use crate::cli::{Exit, load, out};
use crate::clock::Clock;
use crate::compare::escape_controls;
use crate::config::{Loaded, nearest};
use crate::rehearsal::{Scene, Traffic, forecast, timeline};
use crate::route::Rollout;

/// The seed of the plays: the same plan has the same figures.
pub(super) const SEED: u64 = 1;

/// A release may have begun a day ago.
const PAST_MAX_MS: u64 = 86_400_000;

/// Prints the plan of a rollout.
///
/// # Errors
/// The output cannot be written.
pub fn plan(arguments: &PlanArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let Some(loaded) = load::load_quietly(&arguments.file, terminal.stderr) else { return Ok(Exit::BadFile) };
    let Some(id) = loaded.rules.find_rollout(&arguments.name) else {
        out::print_error(&terminal.stderr.red(&unknown(&loaded, &arguments.name)));
        return Ok(Exit::Usage);
    };
    let rollout = loaded.rules.rollout(id);
    let asked = ask(arguments);
    let (proxy, proof) = match asked {
        Ok(Asked { traffic, proof }) => (Ok(traffic), proof),
        Err(error) => (Err(error), Proof::default()),
    };
    let traffic = known_traffic(&arguments.traffic, proxy.as_ref().ok(), &loaded.rules, rollout);
    if let Err(missing) = &traffic {
        let is_usage = matches!(missing, MissingFigures::UnknownRoute { .. });
        let word = if is_usage { terminal.stderr.red("error") } else { terminal.stderr.yellow("warning") };
        let why = proxy.as_ref().err().map(|why| format!("\n  = note: {}", escape_controls(why))).unwrap_or_default();
        let help = "--rate N gives the requests a second of each route; a running proxy measures them";
        out::print_error(&format!(
            "{word}: {missing}: the document says which figures are missing\n  = help: {help}{why}"
        ));
        if is_usage {
            return Ok(Exit::Usage);
        }
    }
    let zone = TimeZone::get(&rollout.about.zone).unwrap_or(TimeZone::UTC);
    let made_ms = u64::try_from(Clock.wall().as_millis()).unwrap_or(u64::MAX);
    let begins_ms = arguments.start.and_then(|start| start.milliseconds(&zone)).unwrap_or(made_ms);
    if begins_ms.saturating_add(PAST_MAX_MS) < made_ms {
        let words = "the date of --start is in the past: the dates of the document are";
        out::print_error(&format!("{}: {words}", terminal.stderr.yellow("warning")));
    }
    let figures = traffic.as_ref().map(|known| known.traffic.clone()).unwrap_or_default();
    let approval_delay_ms = u64::try_from(arguments.approval_delay.as_millis()).unwrap_or(u64::MAX);
    let scene = scene(&loaded, rollout, &figures, begins_ms, approval_delay_ms);
    let file = arguments.file.display().to_string();
    let sheet = PlanSheet {
        rules: &loaded.rules,
        rollout,
        file: &file,
        config: &loaded.hash,
        made_ms,
        approval_delay_ms,
        zone,
        timeline: timeline(&scene),
        forecast: if traffic.is_ok() { forecast(&scene, SEED) } else { Vec::new() },
        traffic,
        proxy,
        proof,
    };
    out::print(&document(&sheet))?;
    Ok(Exit::Ok)
}

/// What is played.
pub(super) const fn scene<'a>(
    loaded: &'a Loaded,
    rollout: &'a Rollout,
    traffic: &'a Traffic,
    begins_ms: u64,
    approval_delay_ms: u64,
) -> Scene<'a> {
    Scene { rules: &loaded.rules, rollout, traffic, begins_ms, approval_delay_ms }
}

/// What the running proxy knows.
struct Asked {
    traffic: ProxyTraffic,
    proof: Proof,
}

/// Asks the running proxy; why it is not known, in one line.
fn ask(arguments: &PlanArguments) -> Result<Asked, String> {
    let asked = || -> anyhow::Result<Asked> {
        let admin = arguments.admin.find(Purpose::Read)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let traffic = measured_traffic(&admin, &arguments.name).await?;
            Ok(Asked { traffic, proof: proof(&admin, &arguments.name).await? })
        })
    };
    asked().map_err(|error| format!("{error:#}").lines().next().unwrap_or_default().to_owned())
}

fn unknown(loaded: &Loaded, name: &str) -> String {
    let known: Vec<&str> = loaded.rules.rollouts.iter().map(|one| one.name.as_str()).collect();
    let shown = escape_controls(name);
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("error: there is no rollout `{shown}`: did you mean `{near}`?"),
        None if known.is_empty() => format!("error: there is no rollout `{shown}`: the file has none"),
        None => format!("error: there is no rollout `{shown}`: the file has {}", known.join(", ")),
    }
}
