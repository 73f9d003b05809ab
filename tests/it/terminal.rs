//! The terminal of a user: the demo's live line and its keys, short access log lines, and highlighted logs.

use std::path::{Path, PathBuf};

use crate::harness::Pty;
use crate::process::{Running, ask, finish};

const DEMO: [&str; 5] = ["demo", "--port", "0", "--admin-port", "0"];

/// How often the live line was painted.
fn paints(pty: &Pty) -> usize {
    String::from_utf8_lossy(&pty.raw).matches("\x1b[?7h\r").count()
}

/// The live line, if it is complete, the only one, and the last row.
fn live(pty: &Pty) -> Option<String> {
    let rows = pty.glass.rows();
    let (last, above) = rows.split_last()?;
    let is_live = |row: &String| row.contains(" errors/s") || row.contains("req/s") || row.contains('█');
    let whole = last.contains(" % ") && last.contains(" errors/s") && pty.raw.ends_with(b"\x1b[?7h\r");
    (whole && !above.iter().any(is_live)).then(|| last.clone())
}

/// The live line after the window was resized to this width.
#[track_caller]
fn live_at(pty: &mut Pty, columns: usize) -> String {
    let before = paints(pty);
    pty.resize(columns);
    let fits = |row: &String| row.chars().count() < columns;
    let line = pty.until(&format!("one live line at {columns} columns"), |pty| {
        // The first may have been under way when the window changed.
        live(pty).filter(|line| fits(line) && paints(pty) >= before + 2)
    });
    assert!(pty.glass.rows().iter().all(|row| row.chars().count() <= columns));
    line
}

/// The file of a demo that has just begun.
fn file(pty: &mut Pty) -> PathBuf {
    let line = pty.line_with("  routes  ");
    line.split_whitespace().last().unwrap().into()
}

#[test]
fn the_live_line_fits_and_the_keys_work() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = Pty::start(dir.path(), &DEMO, 200);
    let file = file(&mut demo);
    demo.line_with("keys: f fail, s slow");
    demo.until("a live line", live);
    let tour = demo.glass.lines();
    for (columns, there, gone) in [
        (120, vec!["stable █", "req/s", "generation 1"], vec![]),
        (80, vec!["stable █", "req/s"], vec!["generation"]),
        (60, vec!["stable █"], vec!["generation", "req/s"]),
        (40, vec!["canary "], vec!["generation", "req/s", "set"]),
        (200, vec!["stable █", "req/s", "generation 1"], vec![]),
        (60, vec!["stable █"], vec!["generation", "req/s"]),
        (80, vec!["stable █", "req/s"], vec!["generation"]),
    ] {
        let line = live_at(&mut demo, columns);
        assert!(there.iter().all(|part| line.contains(part)), "{columns}: {line}");
        assert!(gone.iter().all(|part| !line.contains(part)), "{columns}: {line}");
    }
    let now = demo.glass.lines();
    assert_eq!(now[..tour.len() - 1], tour[..tour.len() - 1], "the rows above are unchanged");
    demo.press("x");
    demo.line_with("this key does nothing; keys: f fail, s slow");
    demo.press("h");
    demo.until("help", |pty| {
        let shown = pty.glass.lines().iter().filter(|line| line.starts_with("keys: f fail")).count();
        (shown == 2).then_some(())
    });
    demo.press("f");
    demo.line_with("canary's fault: errors: the canary answers 500");
    let rolled_back = demo.line_with("canary rolled back after ");
    assert!(rolled_back.contains(" bad answers, by guard "), "{rolled_back}");
    demo.line_with("what an operator does now: o ends the fault, r resumes the canary");
    demo.until("a canary that was rolled back", |pty| {
        live(pty).filter(|line| line.contains("(rolled back)") && line.contains("fault: errors"))
    });
    demo.press("o");
    demo.line_with("canary's fault: off");
    demo.press("r");
    demo.line_with("resumed shop:canary: its callers come back");
    demo.until("a canary", |pty| live(pty).filter(|line| line.contains("(set 10)")));
    demo.press("r");
    demo.line_with("not resumed: ");
    demo.press("k");
    // A line that is wider than the window breaks at a blank.
    demo.line_with("killed variant shop:canary: in force on ");
    live_at(&mut demo, 120);
    demo.until("a killed canary", |pty| live(pty).filter(|line| line.contains("(killed)")));
    demo.press("k");
    demo.line_with("revived variant shop:canary: in force on ");
    demo.until("a canary", |pty| live(pty).filter(|line| line.contains("(set 10)")));
    // What another terminal does is news.
    let folder = file.parent().unwrap().to_owned();
    let act = |verb| finish(&folder, &[verb, "--variant", "shop:canary", "--reason", "it fails"]);
    assert_eq!(act("kill").code, 0);
    demo.line_with("canary killed by ");
    assert_eq!(act("revive").code, 0);
    demo.line_with("canary revived");
    demo.press("+");
    demo.line_with("edited: weight = 20 in");
    demo.line_with("generation 2: ");
    assert!(file.exists());
    demo.press("\x03");
    assert_eq!(demo.end(), 0);
    let folder = file.parent().unwrap();
    let lines = demo.glass.lines();
    let removed = format!("removed {}", folder.display());
    assert!(lines.contains(&removed) && !folder.exists(), "{}", lines.join("\n"));
    assert!(lines.iter().any(|line| line.starts_with("stopped: ")), "{}", lines.join("\n"));
    assert!(demo.is_as_before(), "the terminal is restored");
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing is left");
}

#[test]
fn keys_come_one_by_one_or_together_and_a_rejected_file_is_not_edited() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = Pty::start(dir.path(), &[&DEMO[..], &["--no-traffic"]].concat(), 200);
    let file = file(&mut demo);
    demo.line_with("measuring…");
    demo.press("++");
    demo.line_with("edited: weight = 30 in ");
    demo.line_with(" → 30");
    // Ctrl-Z does not stop the demo, which has changed the settings of the terminal.
    demo.press("\x1a");
    demo.line_with("this key does nothing; keys: f fail, s slow");
    let text = std::fs::read_to_string(&file).unwrap();
    let wrong = text.replace("variants =", "varaints =");
    std::fs::write(&file, &wrong).unwrap();
    demo.line_with("rejected: generation ");
    demo.press("-");
    demo.line_with("not edited: ");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), wrong);
    std::fs::write(&file, text.replace("= 30", "= 12.3")).unwrap();
    demo.line_with(" canary 30 → 12.3");
    demo.press("-");
    demo.line_with("edited: weight = 2.3 in ");
    demo.line_with(" canary 12.3 → 2.3");
    demo.press("q");
    assert_eq!(demo.end(), 0);
    assert!(demo.is_as_before());
}

#[test]
fn q_and_a_signal_end_the_demo_and_remove_its_directory() {
    for quit in ["q", "TERM"] {
        let dir = tempfile::tempdir().unwrap();
        let mut demo = Pty::start(dir.path(), &[&DEMO[..], &["--no-traffic"]].concat(), 80);
        let file = file(&mut demo);
        demo.line_with("measuring…");
        if quit == "q" {
            demo.press(quit);
        } else {
            demo.signal(quit);
        }
        assert_eq!(demo.end(), 0);
        demo.line_with("removed /");
        assert!(!file.exists() && demo.is_as_before(), "{quit}");
    }
}

#[test]
fn a_demo_without_a_terminal_reads_no_keys_and_keeps_what_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let stage = dir.path().join("stage");
    let words = [&DEMO[..], &["--no-traffic", "--dir", stage.to_str().unwrap()]].concat();
    let mut demo = Running::start(dir.path(), &words);
    let switch = demo.word_after("curl -s -X POST").replace("/errors", "");
    assert_eq!(ask(&switch, "POST /errors HTTP/1.1\ncontent-length: 0").0, 200);
    assert_eq!(demo.word_after("canary's fault:"), "errors:");
    let kill = demo.line_with("its guards watch; by hand: ");
    assert!(kill.contains(" kill --admin unix:") && kill.contains("--variant shop:canary"), "{kill}");
    demo.signal("TERM");
    let (code, rest) = demo.end();
    let kept = stage.canonicalize().unwrap().join("routes.toml");
    assert!(code == 0 && rest.contains(&format!("kept {}\n", kept.display())), "{rest}");
    assert!(kept.exists() && !rest.contains('\x1b'), "{rest}");
}

const ROUTES: &str = r#"
schema = 1
[[listener]]
name = "http"
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[[route]]
name = "hello"
match = { path = "/*" }
respond = { status = 200, body = "hello" }
"#;

/// A directory with the routes.
fn routes() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), ROUTES);
    dir
}

fn write(dir: &Path, routes: &str) {
    std::fs::write(dir.join("routes.toml"), routes).unwrap();
}

/// The address of a proxy that has just begun.
fn address(pty: &mut Pty) -> String {
    let line = pty.line_with("  listener  http://");
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn a_terminal_gets_short_lines_and_rejections() {
    let dir = routes();
    let mut proxy = Pty::start(dir.path(), &["run", "--workers", "1"], 100);
    let address = address(&mut proxy);
    assert_eq!(ask(&address, "GET /first?secret=1 HTTP/1.1").0, 200);
    let line = proxy.line_with("GET localhost/first");
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.len() == 8 && rest.starts_with("GET localhost/first 200 → hello ") && rest.ends_with(" ms"), "{line}");
    // A line is one row, whatever the path.
    let long = format!("/{}/end", "x".repeat(500));
    assert_eq!(ask(&address, &format!("GET {long} HTTP/1.1")).0, 200);
    let row = proxy.line_with("…");
    assert!(row.chars().count() == 100 && proxy.glass.rows().contains(&row), "{row}");
    assert!(row.contains("x/end 200 → hello ") && row.contains("GET localhost/xxx"), "{row}");
    // Control bytes do not reach the terminal: the emulator knows no such sequence.
    ask(&address, "GET /esc\x1b[2Jape HTTP/1.1");
    ask(&address, "GET /esc%1b[2Jape HTTP/1.1");
    // A reload is highlighted, in both formats.
    write(dir.path(), &ROUTES.replace("respond =", "respnd ="));
    proxy.line_with("ERROR rejected: the running configuration stays in effect");
    proxy.line_with("did you mean");
    write(dir.path(), &ROUTES.replace("\"hello\"", "\"hallo\""));
    let line = proxy.line_with("INFO  reloaded  ");
    assert!(line.contains("changes=") && line.contains("generation=2") && !line.contains("target"), "{line}");
    let raw = String::from_utf8(proxy.raw.clone()).unwrap();
    for coloured in ["\x1b[1;31mrejected: ", "\x1b[1;31merror[", "\x1b[1;32mreloaded\x1b[0m", "\x1b[32m200\x1b[0m"] {
        assert!(raw.contains(coloured), "{coloured:?} in {raw}");
    }
    assert!(!proxy.glass.lines().iter().any(|line| line.starts_with('{')), "no JSON");
    proxy.press("\x03");
    assert_eq!(proxy.end(), 0);
    proxy.line_with("stopped: every open request was answered");
}

#[test]
fn a_watched_status_paints_over_itself_on_a_narrow_terminal() {
    let dir = tempfile::tempdir().unwrap();
    // A word that is longer than a row.
    let folder = dir.path().join("x".repeat(100));
    std::fs::create_dir(&folder).unwrap();
    write(&folder, ROUTES);
    let mut proxy = Running::start(&folder, &["run", "--workers", "1", folder.join("routes.toml").to_str().unwrap()]);
    let admin = proxy.word_after("admin");
    let mut status = Pty::start(dir.path(), &["status", "--watch", "100ms", "--admin", &admin], 60);
    status.until("three pages", |pty| {
        let pages = pty.raw.windows(3).filter(|bytes| bytes == b"\x1b[J").count();
        (pages >= 3 && pty.raw.ends_with(b"\x1b[?7h")).then_some(())
    });
    let rows = status.glass.rows();
    let with = |words: &str| rows.iter().filter(|row| row.contains(words)).count();
    assert_eq!((with(&admin), with("Pointsman "), with("xxxx"), with("ROUTE ")), (1, 1, 1, 1), "{}", rows.join("\n"));
    status.press("\x03");
    assert_eq!(status.end(), 0);
}

#[test]
fn a_watched_status_that_fails_at_first_clears_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut status = Pty::start(dir.path(), &["status", "--watch", "--admin", "127.0.0.1:1"], 80);
    status.line_with("--admin names this address");
    assert_eq!(status.end(), 1);
    let raw = String::from_utf8(status.raw.clone()).unwrap();
    assert!(!raw.contains("\x1b[2J") && !raw.contains("\x1b[H"), "{raw:?}");
}

#[test]
fn colour_can_be_turned_off() {
    for arguments in [&["run", "--workers", "1"][..], &["run", "--workers", "1", "--color", "never"]] {
        let dir = routes();
        let mut proxy = Pty::with(dir.path(), arguments, 100, |command| {
            let value = if arguments.contains(&"never") { "" } else { "1" };
            command.env("NO_COLOR", value);
        });
        let address = address(&mut proxy);
        assert_eq!(ask(&address, "GET /plain HTTP/1.1").0, 200);
        proxy.line_with("GET localhost/plain 200 → hello");
        write(dir.path(), "schema = 7");
        proxy.line_with("ERROR rejected: ");
        assert!(!proxy.raw.contains(&0x1b), "{}", String::from_utf8_lossy(&proxy.raw));
    }
}

#[test]
fn a_pipe_gets_json_unless_the_file_asks_for_short_lines() {
    let dir = routes();
    let mut proxy = Running::start(dir.path(), &["run", "--workers", "1"]);
    let address = proxy.word_after("listener");
    assert_eq!(ask(&address, "GET /json HTTP/1.1").0, 200);
    assert!(proxy.word_after("{\"time\":").contains("\"path\":\"/json\""));
    drop(proxy);
    write(dir.path(), &ROUTES.replace("[admin]", "[access_log]\nformat = \"short\"\n[admin]"));
    let mut proxy = Running::start(dir.path(), &["run", "--workers", "1", "--color", "never"]);
    let address = proxy.word_after("listener");
    assert_eq!(ask(&address, "GET /short HTTP/1.1").0, 200);
    let (_, rest) =
        proxy.line_with("GET ").split_once(' ').map(|(time, rest)| (time.to_owned(), rest.to_owned())).unwrap();
    assert!(rest.starts_with("GET localhost/short 200 → hello "), "{rest}");
}
