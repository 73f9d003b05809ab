//! The dialogs of every page: an act, a kill, the keys. The script opens and fills them.

use maud::{Markup, html};

/// The longest reason, in characters.
const REASON_MAX: u32 = 1_000;
/// The longest name, in characters.
const NAME_MAX: u32 = 256;
/// What a kill can be for, with what it does.
const KILL_KINDS: [(&str, &str); 6] = [
    ("variant", "variant: its callers get stable"),
    ("route", "route: all its callers get stable"),
    ("rollout", "rollout: all its callers get stable"),
    ("tenant", "tenant: it gets stable everywhere"),
    ("shadow", "shadow of a route: no copies"),
    ("all", "everything: all callers get stable"),
];
/// The keys, with what they do.
const KEYS: [(&str, &str); 8] = [
    ("j k", "next row, row before"),
    ("Enter", "opens the chosen row"),
    ("a", "approve, in a dialog"),
    ("h", "hold, in a dialog"),
    ("x", "kill, in a dialog"),
    ("/", "filter"),
    ("?", "these keys"),
    ("Esc", "closes a dialog; nothing is done"),
];

/// The dialog of an act.
pub fn act_dialog() -> Markup {
    html! {
        dialog id="act-dialog" aria-labelledby="act-title" {
            form method="dialog" {
                h2 id="act-title" { "Act" }
                p id="act-effect" class="effect" {}
                p class="field" {
                    label for="act-reason" { "Reason" } " " span id="act-note" class="soft" {}
                    input id="act-reason" name="reason" maxlength=(REASON_MAX) autocomplete="off" spellcheck="false"
                        aria-describedby="act-note";
                }
                div id="act-outcome" class="outcome" role="alert" {}
                p class="buttons" {
                    button type="submit" id="act-do" { "Do it" } " "
                    button type="button" id="act-again" hidden { "Look again" } " "
                    button type="button" id="act-cancel" { "Cancel" }
                }
            }
        }
    }
}

/// The dialog of a kill.
pub fn kill_dialog() -> Markup {
    html! {
        dialog id="kill-dialog" aria-labelledby="kill-title" {
            form method="dialog" {
                h2 id="kill-title" { "Kill" }
                p class="effect" { "In force at the next request, on every worker. Only a revive ends it." }
                p class="field" {
                    label for="kill-kind" { "What" }
                    select id="kill-kind" name="kind" {
                        @for (kind, words) in KILL_KINDS { option value=(kind) { (words) } }
                    }
                }
                p class="field" id="kill-name-field" {
                    label for="kill-name" { "Name" }
                    input id="kill-name" name="name" list="kill-names" maxlength=(NAME_MAX) autocomplete="off"
                        spellcheck="false";
                }
                datalist id="kill-names" {}
                p class="field" {
                    label for="kill-reason" { "Reason" } " " span id="kill-note" class="soft" { "required" }
                    input id="kill-reason" name="reason" maxlength=(REASON_MAX) autocomplete="off" spellcheck="false"
                        aria-describedby="kill-note";
                }
                div id="kill-outcome" class="outcome" role="alert" {}
                p class="buttons" {
                    button type="submit" id="kill-do" class="grave" { "Kill" } " "
                    button type="button" id="kill-cancel" { "Cancel" }
                }
            }
        }
    }
}

/// The dialog of the keys.
pub fn help_dialog() -> Markup {
    html! {
        dialog id="help-dialog" aria-labelledby="help-title" {
            form method="dialog" {
                h2 id="help-title" { "Keys" }
                dl class="keys" {
                    @for (key, does) in KEYS {
                        dt { @for key in key.split(' ') { kbd { (key) } " " } }
                        dd { (does) }
                    }
                }
                p class="soft" { "No key acts by itself: each opens a dialog that says what will happen." }
                p class="buttons" { button type="submit" { "Close" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_label() {
        for dialog in [act_dialog(), kill_dialog(), help_dialog()] {
            let page = dialog.into_string();
            for part in page.split("<input id=\"").skip(1).chain(page.split("<select id=\"").skip(1)) {
                let id = part.split('"').next().unwrap_or_default();
                assert!(page.contains(&format!("<label for=\"{id}\">")), "{id}: {page}");
            }
        }
    }
}
