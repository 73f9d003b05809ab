//! Ports: a test uses only ports that the system chooses. A fixed port may be in use, by the tests of another checkout
//! or by a running demo.

use std::path::Path;
use std::slice;

use toml::{Table, Value};

/// The first port of the range from which the system chooses.
fn first_chosen() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32768)
}

/// The fixed addresses of a routes file, each with advice. A text that is not TOML has none.
fn fixed(routes: &str) -> Vec<String> {
    let Ok(file) = toml::from_str::<Table>(routes) else { return Vec::new() };
    let mut found = Vec::new();
    let mut check = |owner: &str, address: Option<&Value>| {
        let all = address.map_or(&[][..], |address| address.as_array().map_or(slice::from_ref(address), Vec::as_slice));
        for address in all.iter().filter_map(Value::as_str) {
            let port = address.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
            if port.is_some_and(|port| port != 0 && port < first_chosen()) {
                found.push(format!("{owner} has the fixed port of `{address}`: write `127.0.0.1:0`"));
            }
        }
    };
    let listeners = file.get("listener").and_then(Value::as_array);
    listeners.into_iter().flatten().for_each(|listener| check("a listener", listener.get("address")));
    let admin = file.get("admin").and_then(|admin| admin.get("address"));
    check("[admin]", admin);
    if admin.is_none() {
        found.push("[admin] has no address, so that it takes 9900: write `address = \"127.0.0.1:0\"`".to_owned());
    }
    found
}

/// Fails if a proxy with this text would use a port that the system did not choose.
#[track_caller]
pub fn chosen_by_the_system(routes: &str) {
    let found = fixed(routes);
    assert!(found.is_empty(), "no test takes a fixed port:\n{}\nin\n{routes}", found.join("\n"));
}

/// The same for every routes file in `dir`.
#[track_caller]
pub fn chosen_by_the_system_in(dir: &Path) {
    for path in std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "toml") {
            chosen_by_the_system(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Fails if the binary with these arguments, in `dir`, would use a port that the system did not choose.
#[track_caller]
pub fn chosen_by_the_system_for(dir: &Path, arguments: &[&str]) {
    let given = |option: &str| {
        let value = arguments.windows(2).find(|pair| pair[0] == option).map(|pair| pair[1]);
        assert!(value.is_some_and(|value| value.ends_with('0')), "no test takes a fixed port: give `{option}` port 0");
    };
    if arguments.contains(&"demo") {
        ["--port", "--admin-port"].into_iter().for_each(given);
    } else if arguments.contains(&"--to") {
        ["--listen", "--admin-listen"].into_iter().for_each(given);
    } else if arguments.contains(&"run") {
        chosen_by_the_system_in(dir);
    }
}

#[test]
fn fixed_ports_are_found() {
    let count = |text: &str| fixed(text).len();
    let admin = |address: &str| format!("[admin]\naddress = \"{address}\"\n");
    let listener = |address: &str| format!("[[listener]]\naddress = \"{address}\"\n");
    let any = "127.0.0.1:0";
    assert_eq!(count("schema = 1\n"), 1, "it would use 9900");
    assert_eq!(count("[admin]\n"), 1);
    for address in ["127.0.0.1:9900", "[::1]:9901", ":8080"] {
        assert_eq!(count(&admin(address)), 1, "{address}");
        assert_eq!(count(&format!("{}{}", admin(any), listener(address))), 1, "{address}");
        assert_eq!(count(&format!("{}{}", admin(address), listener(address))), 2, "{address}");
    }
    assert_eq!(count(&format!("{}{}", admin(any), listener("127.0.0.2:0"))), 0);
    let chosen = std::net::TcpListener::bind(any).unwrap().local_addr().unwrap().to_string();
    assert_eq!(count(&format!("{}{}", admin(any), listener(&chosen))), 0, "{chosen}");
    assert_eq!(count("[admin]\naddress = [\"127.0.0.1:0\", \"127.0.0.1:9900\"]\n"), 1);
    assert_eq!(count("no TOML"), 0);
}
