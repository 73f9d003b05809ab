//! The rooms of the data plane: inside `src/proxy`, each room imports only from those after it. The file that wires them
//! stands beside them.

use crate::floors::{first_name, group_at};
use crate::source::{Finding, Source, words};

/// The rooms, in order.
const ROOMS: &[&str] = &["request", "mirror", "upstream", "body", "downstream", "worker", "wire"];

/// Imports from a room before.
pub fn order(file: &Source) -> Vec<Finding> {
    let Some((room, _)) = file.path.strip_prefix("src/proxy/").and_then(|path| path.split_once('/')) else {
        return Vec::new();
    };
    let Some(here) = ROOMS.iter().position(|known| *known == room) else {
        return vec![file.at(0, format!("`{room}` is no room of proxy: give it a place in tests/tidy/proxy.rs"))];
    };
    let roots = ["crate::proxy", "super::super"];
    roots
        .iter()
        .flat_map(|root| words(&file.code, root).map(|at| at + root.len()))
        .flat_map(|at| named(&file.code, at))
        .filter(|(at, name)| ROOMS[..here].contains(name) && !file.is_test(*at))
        .map(|(at, name)| {
            let order = ROOMS.join(", ");
            file.at(at, format!("{room} comes after {name} and may not import it ({order}): move what both need down"))
        })
        .collect()
}

/// The names that the path at `offset` goes on with.
fn named(code: &str, offset: usize) -> Vec<(usize, &str)> {
    let one = || code[offset..].strip_prefix("::").map(|rest| (offset, first_name(rest)));
    group_at(code, offset).unwrap_or_else(|| one().into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::order;
    use crate::source::Source;

    fn count(path: &str, text: &str) -> usize {
        order(&Source::new(path, text)).len()
    }

    #[test]
    fn an_import_from_a_room_before_is_found() {
        for (path, text) in [
            ("src/proxy/wire/a.rs", "use crate::proxy::worker::Worker;"),
            ("src/proxy/upstream/a.rs", "use crate::proxy::{request::exchange, wire::scan};"),
            ("src/proxy/body/a.rs", "fn a() { super::super::mirror::copy::launch() }"),
            ("src/proxy/attic/a.rs", ""),
        ] {
            assert_eq!(count(path, text), 1, "{path}: {text}");
        }
    }

    #[test]
    fn an_import_from_a_room_after_is_fine() {
        for (path, text) in [
            ("src/proxy/request/a.rs", "use crate::proxy::wire::scan; use super::b;"),
            ("src/proxy/wire/a.rs", "#[cfg(test)]\nmod tests {\n    use crate::proxy::worker::Worker;\n}\n"),
            ("src/proxy/thread.rs", "use super::request::handle;"),
            ("src/control/a.rs", "use crate::proxy::request;"),
        ] {
            assert_eq!(count(path, text), 0, "{path}: {text}");
        }
    }
}
