//! Ports of tests: the system chooses them, since a fixed one may be in use.

use crate::source::{Finding, Source};

/// What binds an address.
const BINDS: &[&str] = &["::bind(", ".bind(", " bind("];
/// What starts the proxy, and the files that may: they look at the ports in its routes file first.
const STARTS: &[(&str, &[&str])] = &[
    ("CARGO_BIN_EXE_pointsman", &["tests/it/process.rs", "tests/tidy/ports.rs"]),
    ("App::start(", &["tests/it/harness/proxy.rs", "tests/tidy/ports.rs"]),
    ("App::succeed(", &["tests/it/harness/proxy.rs", "tests/tidy/ports.rs"]),
];

/// Addresses with a literal port that test code binds.
pub fn fixed(file: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for bind in BINDS {
        for (at, _) in file.code.match_indices(bind).filter(|(at, _)| file.is_test(*at)) {
            let arguments = at + bind.len();
            let end = file.code[arguments..].find(')').map_or(file.code.len(), |end| arguments + end);
            let written = &file.code_and_strings[arguments..end];
            if literal_port(written).is_some_and(|port| port != 0) {
                found.push(file.at(at, format!("`{written}` is a fixed port, which may be in use: bind port 0")));
            }
        }
    }
    found
}

/// Starts of the proxy outside of the harness, which looks at the ports in its routes file.
pub fn unseen_starts(file: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (start, allowed) in STARTS {
        if !allowed.contains(&file.path.as_str()) {
            let message = format!("`{start}`: start it by {}, which refuses fixed ports", allowed[0]);
            found.extend(file.code_and_strings.match_indices(start).map(|(at, _)| file.at(at, message.clone())));
        }
    }
    found
}

/// The port in the arguments of a `bind`, where it is a number in the text.
fn literal_port(written: &str) -> Option<u16> {
    let number = |text: &str| text.trim().trim_end_matches("u16").trim_end_matches('_').parse().ok();
    let text = written.split('"').nth(1);
    text.and_then(|text| number(text.rsplit(':').next()?)).or_else(|| {
        let last = written.rsplit(',').next().unwrap_or(written);
        number(last).or_else(|| number(last.trim_start_matches('(')))
    })
}

#[test]
fn literal_ports_are_found() {
    let count = |code: &str| fixed(&Source::new("tests/it/a.rs", code)).len();
    for code in [
        "TcpListener::bind(\"127.0.0.1:8080\")",
        "TcpListener::bind((ONE, 9900))",
        "TcpListener::bind((\"127.0.0.1\", 9900)).unwrap()",
        "let a = bind(\"[::1]:443\".parse().unwrap())",
        "service::bind(9901)",
    ] {
        assert_eq!(count(code), 1, "{code}");
    }
    for code in [
        "TcpListener::bind(\"127.0.0.1:0\")",
        "TcpListener::bind((ONE, 0))",
        "TcpListener::bind((ONE, port))",
        "bind(address)",
        "UnixDatagram::bind(&path)",
        "socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into())",
        "// TcpListener::bind(\"127.0.0.1:8080\")",
    ] {
        assert_eq!(count(code), 0, "{code}");
    }
    let outside = "fn demo() { service::bind(9901); }\n#[cfg(test)]\nmod tests {}\n";
    assert_eq!(fixed(&Source::new("src/cli/demo.rs", outside)).len(), 0, "only tests are meant");
}

#[test]
fn starts_outside_of_the_harness_are_found() {
    let count = |path, code| unseen_starts(&Source::new(path, code)).len();
    let (process, app) = ("Command::new(env!(\"CARGO_BIN_EXE_pointsman\"))", "App::start(options)");
    assert_eq!(count("tests/it/a.rs", process), 1);
    assert_eq!(count("tests/it/process.rs", process), 0);
    assert_eq!(count("tests/it/a.rs", app), 1);
    assert_eq!(count("tests/it/harness/proxy.rs", app), 0);
}
