//! Edits of a plan while its rollout is under way: taken over, or rejected with the remedy; a start always comes up.

use super::brake::{act, done, start};
use super::harness::{Folder, eventually, rejected, weight};
use super::rollouts::{PLAN, acts, all_replay, on, standing, text, until};
use super::traffic::{Client, upstream};
use crate::app::ReloadOutcome;
use crate::release::{BlockKind, HeldCause, PersonVerb, RolloutPhase, RolloutStanding};

/// A plan that waits in its second stage, `half`.
fn waiting() -> (Folder, String) {
    let text = text(PLAN, [upstream("one"), upstream("two")]);
    (Folder::new(&text), text)
}

const INSERTED: &str =
    "[[rollout.next.stage]]\nname = \"some\"\nweight = 30\nmin_requests = 5\n[[rollout.next.stage]]\nname = \"half\"";

fn is_awaiting(one: &RolloutStanding) -> bool {
    one.doing == "awaiting_approval"
}

#[test]
fn the_ceiling_lowers_at_once_and_does_not_push() {
    let (folder, text) = waiting();
    let app = start(&folder);
    let mut client = Client::connect(&app);
    until(&app, &mut client, "it waits", is_awaiting);
    folder.write("routes.toml", &text.replace("[rollout.next]\n", "[rollout.next]\nmax_weight = 10\n"));
    let ReloadOutcome::Applied { summary, .. } = app.reload() else { panic!("it is valid") };
    assert!(summary.iter().any(|line| line.contains("api canary 50 → 10")), "from where it is: {summary:?}");
    assert_eq!(weight(&app).to_bits(), 10.0_f64.to_bits());
    folder.write("routes.toml", &text);
    assert_eq!(app.reload().name(), "applied");
    // The gates of the stage hold: it rises again, by a record.
    until(&app, &mut client, "it rises", |one| one.weight > 49.0);
    drop(app);
    let acts = acts(&folder);
    let lowered = acts.iter().position(|act| act == "lower").expect("lowered");
    assert!(acts[lowered..].contains(&"raise".to_owned()), "a higher ceiling permits, and pushes nothing: {acts:?}");
    all_replay(&folder);
}

#[test]
fn a_stage_that_is_inserted_before_is_rejected_with_the_remedy() {
    let (folder, text) = waiting();
    let app = start(&folder);
    let mut client = Client::connect(&app);
    until(&app, &mut client, "it waits", is_awaiting);
    folder.write("routes.toml", &text.replace("[[rollout.next.stage]]\nname = \"half\"", INSERTED));
    let outcome = app.reload();
    let message = rejected(&outcome);
    assert!(message.contains("some") && message.contains("rollout goto next"), "{message}");
    assert_eq!(weight(&app).to_bits(), 50.0_f64.to_bits());
    let blocked = until(&app, &mut client, "a rejected file is in the way", |one| {
        one.blocks.iter().any(|block| block.kind == BlockKind::Config)
    });
    assert_eq!(blocked.phase, RolloutPhase::Running);
    // The stage where it is cannot be removed either.
    folder.write("routes.toml", &text.replace("name = \"half\"", "name = \"other\""));
    assert!(rejected(&app.reload()).contains("half"));
    // Behind it, everything may change.
    folder.write("routes.toml", &text.replace("weight = 100", "weight = 90"));
    assert_eq!(app.reload().name(), "applied");
}

#[test]
fn a_start_with_another_plan_is_held_at_no_more_than_before() {
    let (folder, text) = waiting();
    let app = start(&folder);
    until(&app, &mut Client::connect(&app), "it waits", is_awaiting);
    drop(app);
    folder.write("routes.toml", &text.replace("[[rollout.next.stage]]\nname = \"half\"", INSERTED));
    let app = start(&folder);
    let held = standing(&app);
    let RolloutPhase::Held(why) = &held.phase else { panic!("{held:?}") };
    assert_eq!((why.cause, weight(&app).to_bits()), (HeldCause::PlanChanged, 50.0_f64.to_bits()));
    assert!(held.unblock.is_some_and(|text| text.contains("rollout goto next")), "{:?}", held.says);
    done(&app, act(on(PersonVerb::Goto { stage: "some".to_owned() }, &[])));
    eventually("it goes on", || standing(&app).phase == RolloutPhase::Running);
    assert_eq!((standing(&app).stage.as_str(), weight(&app).to_bits()), ("some", 30.0_f64.to_bits()));
}

#[test]
fn a_static_weight_takes_over_and_the_rollout_is_archived() {
    let (folder, text) = waiting();
    let app = start(&folder);
    let mut client = Client::connect(&app);
    until(&app, &mut client, "it waits", is_awaiting);
    let by_hand = text.replace("rollout = \"next\" }", "weight = 3 }");
    let by_hand = by_hand.split("\n[rollout.next]").next().expect("a part").to_owned();
    folder.write("routes.toml", &by_hand);
    assert_eq!(app.reload().name(), "applied");
    assert!(app.rollouts().is_empty());
    assert_eq!(weight(&app).to_bits(), 3.0_f64.to_bits());
    // The same name with the same revision takes up its state.
    folder.write("routes.toml", &text);
    assert_eq!(app.reload().name(), "applied");
    until(&app, &mut client, "it is there again", is_awaiting);
    assert_eq!(weight(&app).to_bits(), 50.0_f64.to_bits());
    drop(app);
    assert!(acts(&folder).contains(&"archive".to_owned()), "{:?}", acts(&folder));
}

#[test]
fn a_reload_in_the_middle_of_a_ramp_keeps_its_position() {
    let ramp = PLAN
        .replace("weight = 50\n", "weight = 50\nramp = \"2s\"\n")
        .replace("approve = [\"lead\", \"product\"]\n", "");
    let text = text(&ramp, [upstream("one"), upstream("two")]);
    let folder = Folder::new(&text);
    let app = start(&folder);
    let mut client = Client::connect(&app);
    let mut highest = 0.0_f64;
    let mut edits = ["# a\n", "# b\n"].into_iter().cycle();
    eventually("the ramp is over", || {
        client.get("/a");
        folder.write("routes.toml", &(text.clone() + edits.next().unwrap_or_default()));
        let _ = app.reload();
        let now = standing(&app).weight;
        assert!(now >= highest, "the weight falls from {highest} to {now}");
        highest = highest.max(now);
        let one = standing(&app);
        one.stage == "half" && one.weight > 49.9
    });
    drop(app);
    all_replay(&folder);
}

#[test]
fn a_journal_that_is_missing_beside_the_saved_state_holds_it_at_0() {
    let (folder, _) = waiting();
    let app = start(&folder);
    until(&app, &mut Client::connect(&app), "it waits", is_awaiting);
    drop(app);
    std::fs::remove_file(folder.path("state/journal.jsonl")).expect("removed");
    let app = start(&folder);
    let held = standing(&app);
    let RolloutPhase::Held(why) = &held.phase else { panic!("{held:?}") };
    assert_eq!((why.cause, held.weight.to_bits()), (HeldCause::Damaged, 0.0_f64.to_bits()));
    assert_eq!(Client::connect(&app).get("/a").1, "one");
    drop(app);
    // The next start reads a journal that is intact, and has the hold.
    let app = start(&folder);
    assert!(matches!(&standing(&app).phase, RolloutPhase::Held(why) if why.cause == HeldCause::Damaged));
}
