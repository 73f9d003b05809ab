//! Time zones by their IANA names.

use jiff::tz::TimeZone;

use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::source::Span;
use crate::config::toml::suggest::did_you_mean;

/// Abbreviations, which are no IANA names: one stands for several zones, or for half of the year.
const ABBREVIATIONS: &[(&str, &str)] = &[
    ("CEST MESZ MEZ", "Europe/Berlin"),
    ("BST", "Europe/London"),
    ("WEST", "Europe/Lisbon"),
    ("EEST", "Europe/Helsinki"),
    ("MSK", "Europe/Moscow"),
    ("EDT ET", "America/New_York"),
    ("CDT CST CT", "America/Chicago"),
    ("MDT MT", "America/Denver"),
    ("PST PDT PT", "America/Los_Angeles"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("SGT", "Asia/Singapore"),
    ("AEST AEDT", "Australia/Sydney"),
];

/// The zone with a name; reports one that does not exist.
pub(super) fn zone(context: &mut Context<'_>, name: &str, at: Span) -> Option<TimeZone> {
    if let Some(zone) = find(name) {
        return Some(zone);
    }
    let help = context.shows_more_errors().then(|| meant(name)).flatten();
    let finding = Finding::error("unknown-zone", at, format!("there is no time zone `{name}`"));
    context.report(finding.help("write an IANA name, such as `Europe/Paris` or `UTC`").maybe_help(help));
    None
}

/// The zone with a name.
pub(super) fn find(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok().filter(|zone| !zone.is_unknown())
}

/// Help for a name that does not exist.
fn meant(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    if let Some((_, ours)) = ABBREVIATIONS.iter().find(|(all, _)| all.split(' ').any(|known| known == upper)) {
        return Some(format!("write an IANA name, which knows summer time, such as `{ours}`"));
    }
    if upper.contains(['+', ':']) {
        return Some("an offset does not know summer time: write an IANA name, such as `Europe/Paris`".to_owned());
    }
    let known: Vec<String> = jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect();
    let city = name.trim().replace(' ', "_");
    let of_city = |zone: &&String| zone.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(&city));
    match known.iter().filter(|zone| zone.contains('/')).find(of_city) {
        Some(zone) => Some(format!("did you mean `{zone}`?")),
        None => did_you_mean(name, known.iter().map(String::as_str)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_found_and_others_get_help() {
        for name in ["UTC", "Europe/Paris", "America/Argentina/Buenos_Aires"] {
            assert!(find(name).is_some(), "{name}");
        }
        for (name, help) in [
            ("Europe/Pariss", Some("did you mean `Europe/Paris`?")),
            ("Paris", Some("did you mean `Europe/Paris`?")),
            ("new york", Some("did you mean `America/New_York`?")),
            ("cest", Some("write an IANA name, which knows summer time, such as `Europe/Berlin`")),
            ("+02:00", Some("an offset does not know summer time: write an IANA name, such as `Europe/Paris`")),
            ("Middle/Earth-of-Nothing", None),
        ] {
            assert!(find(name).is_none(), "{name}");
            assert_eq!(meant(name).as_deref(), help, "{name}");
        }
        assert!(find("").is_none() && find("../../etc/passwd").is_none());
    }
}
