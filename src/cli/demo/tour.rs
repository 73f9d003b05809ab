//! The text printed first by the demo: addresses, and what to try.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use super::file::DemoKind;
use super::release::RELEASE;
use super::staged_tour;
use crate::cli::admin::VARIABLE;
use crate::cli::dashboard::DashboardLink;
use crate::cli::paint::Paint;

/// Where things are.
#[derive(Clone, Debug)]
pub(super) struct TourContext<'a> {
    /// What the demo shows.
    pub(super) kind: DemoKind,
    /// Where the proxy listens.
    pub(super) proxy: SocketAddr,
    /// Where it listens for TLS, if it does.
    pub(super) tls: Option<SocketAddr>,
    /// Where admin listens.
    pub(super) admin: SocketAddr,
    /// A link to the dashboard; nothing where none can be made.
    pub(super) link: Option<DashboardLink>,
    /// Where stable answers.
    pub(super) stable: SocketAddr,
    /// Where the canary answers.
    pub(super) canary: SocketAddr,
    /// Where the dark launch answers, if there is one.
    pub(super) dark: Option<SocketAddr>,
    /// Where the canary's fault is switched.
    pub(super) switch: SocketAddr,
    /// The socket of the admin listener, where it can be found: in the folder of the file.
    pub(super) socket: Option<&'a Path>,
    /// The file to edit.
    pub(super) file: &'a Path,
    /// This program, as it can be called again.
    pub(super) program: &'a str,
    /// What the keys are, when they are read.
    pub(super) keys: Option<&'a str>,
    /// Things that are not as asked, such as a port that was taken.
    pub(super) notes: &'a [String],
}

/// The tour as text.
pub(super) fn tour(stage: &TourContext<'_>, paint: Paint) -> String {
    let TourContext { proxy, admin, stable, canary, switch, .. } = stage;
    let mut text = String::new();
    let title = match stage.kind {
        DemoKind::Weight => "Pointsman demo: a canary with guards, and a dark launch",
        DemoKind::Rollout => "Pointsman demo: a rollout in three stages, with guards and an approval",
    };
    let _ = writeln!(text, "{}\n", paint.bold(title));
    for note in stage.notes {
        let _ = writeln!(text, "  {} {note}", paint.yellow("note:"));
    }
    let tls = stage.tls.map(|tls| ("https", format!("https://{tls}    with a self-signed certificate")));
    let places = [
        ("proxy", format!("http://{proxy}")),
        ("admin", format!("http://{admin}    /status /metrics /explain /shadow")),
        ("dashboard", link(stage)),
        ("stable", format!("http://{stable}    shop-v1")),
        ("canary", format!("http://{canary}    shop-v2")),
        ("fault", format!("http://{switch}    POST /errors /slow /off: the canary's")),
        ("routes", stage.file.display().to_string()),
    ];
    let dark = stage.dark.map(|dark| ("dark", format!("http://{dark}    shop-v3: copies only, for the dark launch")));
    for (what, place) in places.into_iter().chain(dark).chain(tls) {
        let _ = writeln!(text, "  {what:<11}{}", paint.cyan(&place));
    }
    let stops = match stage.kind {
        DemoKind::Weight => stops(stage),
        DemoKind::Rollout => staged_tour::stops(stage.proxy, stage.switch),
    };
    let dark = stage.dark.map(|_| {
        (
            "the dark launch: where do the responses of shop-v3 differ?",
            format!("for i in $(seq 200); do curl -s {proxy}/api/items/$i; done | tail -1\n    pointsman compare"),
        )
    });
    let secure = stage.tls.map(|tls| {
        (
            "over TLS, as HTTP/2 (-k: the certificate is self-signed)",
            format!("curl -sk --http2 -b uid=alice https://{tls}/"),
        )
    });
    let _ = writeln!(text, "\n{}", paint.bold("In another terminal, first:"));
    for line in setup(stage) {
        let _ = writeln!(text, "    {}", paint.cyan(&line));
    }
    let _ = writeln!(text, "\n{}", paint.bold("Then try:"));
    for (number, (what, line)) in (1..).zip(stops.into_iter().chain(dark).chain(secure)) {
        let _ = writeln!(text, "\n  {number}. {what}\n    {}", paint.cyan(&line));
    }
    match (stage.keys, stage.kind) {
        (Some(keys), _) => drop(writeln!(text, "\n{keys}")),
        (None, DemoKind::Rollout) => drop(writeln!(text, "\n{}", staged_tour::BY_ITSELF)),
        (None, DemoKind::Weight) => {}
    }
    let _ = writeln!(text, "\nCtrl-C drains and stops.\n");
    text
}

/// The link to the dashboard, and how to get another one.
fn link(stage: &TourContext<'_>) -> String {
    let Some(link) = &stage.link else { return format!("http://{}    to read", stage.admin) };
    let again = if stage.keys.is_some() { "d makes another one" } else { "`pointsman dashboard` makes another one" };
    format!("{}\n{:13}once, within {} s: {again}", link.url, "", link.expires_in_s)
}

/// What to try, each with its command.
fn stops(stage: &TourContext<'_>) -> Vec<(&'static str, String)> {
    let TourContext { proxy, admin, switch, .. } = stage;
    vec![
        ("20 callers, by weight", format!("for i in $(seq 20); do curl -sb uid=$i {proxy}; done | sort | uniq -c")),
        (
            "one caller always gets the same",
            format!("for i in 1 2 3 4 5; do curl -s -b uid=alice http://{proxy}/; done"),
        ),
        ("by header", format!("curl -s -H 'x-canary: always' http://{proxy}/")),
        ("by cookie", format!("curl -s -b preview=v2 http://{proxy}/")),
        ("by tenant (segment early-birds)", format!("curl -s -H 'x-tenant: acme' http://{proxy}/")),
        ("why did alice get that variant?", format!("pointsman explain --admin {admin} --cookie uid=alice")),
        ("the state by route and variant, every 2 seconds", "pointsman status --watch".to_owned()),
        (
            "shift the weight to 50 % and watch the bar",
            "sed -i.bak '/^weight/s/= *[0-9.]*/= 50/' routes.toml".to_owned(),
        ),
        (
            "make the canary fail: a guard rolls it back within a second",
            format!("curl -s -X POST http://{switch}/errors    # /slow, /off"),
        ),
        (
            "by which evidence, and back after the repair",
            format!(
                "pointsman rollout show {RELEASE}\n    pointsman rollout resume {RELEASE} --reason 'it is repaired'"
            ),
        ),
        (
            "the same in a browser: open the dashboard, make the canary fail, watch the\n      rollback, read why, resume",
            format!("pointsman dashboard    # a link\n    curl -s -X POST http://{switch}/errors    # then /off"),
        ),
        (
            "kill: all callers off the canary at once, and back",
            format!("pointsman kill {SCOPE} --reason 'it fails'\n    pointsman revive {SCOPE} --reason 'it is fixed'"),
        ),
        ("who changed what, when and why", "pointsman journal".to_owned()),
    ]
}

/// What makes the lines of the tour short: its folder, this program by its name, and its admin listener.
fn setup(stage: &TourContext<'_>) -> Vec<String> {
    let folder = stage.file.parent().unwrap_or_else(|| Path::new("."));
    let mut lines =
        vec![format!("cd {}", quoted(&folder.to_string_lossy())), format!("alias pointsman={}", quoted(stage.program))];
    // In its folder the socket is found without a name.
    match stage.socket {
        Some(socket) if socket != folder.join(SOCKET) => {
            let name = format!("unix:{}", socket.display());
            lines.push(format!("export {VARIABLE}={}", quoted(&name)));
        }
        None if stage.admin != SocketAddr::from(([127, 0, 0, 1], 9900)) => {
            lines.push(format!("export {VARIABLE}=http://{}", stage.admin));
        }
        Some(_) | None => {}
    }
    lines
}

/// The socket, from the folder of the file.
const SOCKET: &str = "state/run/admin.sock";

/// The scope that the tour kills.
const SCOPE: &str = "--variant shop:canary";

/// The line for a shell that takes everybody off the canary, from any folder.
pub(super) fn kill(program: &str, socket: &Path) -> String {
    let (program, socket) = (quoted(program), quoted(&format!("unix:{}", socket.display())));
    format!("{program} kill --admin {socket} {SCOPE} --reason 'it fails'")
}

/// The line for a shell that ends the rollback of the canary, from any folder.
pub(super) fn resume(program: &str, socket: &Path) -> String {
    let (program, socket) = (quoted(program), quoted(&format!("unix:{}", socket.display())));
    format!("{program} rollout resume --admin {socket} {RELEASE} --reason 'it is repaired'")
}

/// A word as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:,@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for (word, shell) in [("/tmp/a-b.toml", "/tmp/a-b.toml"), ("/my dir/x", "'/my dir/x'"), ("it's", r"'it'\''s'")]
        {
            assert_eq!(quoted(word), shell);
        }
    }

    #[test]
    fn the_tour_names_every_place() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let notes = ["port 8080 is in use".to_owned()];
        let stage = TourContext {
            kind: DemoKind::Weight,
            proxy: at(1001),
            tls: Some(at(1006)),
            admin: at(1002),
            link: Some(DashboardLink {
                url: "http://127.0.0.1:1002/sign-in#link=x".to_owned(),
                expires_in_s: 60,
                who: None,
            }),
            stable: at(1003),
            canary: at(1004),
            dark: Some(at(1007)),
            switch: at(1005),
            socket: Some(Path::new("/tmp/demo/state/run/admin.sock")),
            file: Path::new("/tmp/demo/routes.toml"),
            program: "/usr/bin/pointsman",
            keys: Some("keys: x"),
            notes: &notes,
        };
        let text = tour(&stage, Paint::Plain);
        assert!(text.contains("  fault      http://127.0.0.1:1005"), "{text}");
        for place in [
            "1001",
            "https://127.0.0.1:1006/",
            "1002",
            "1003",
            "1004",
            "1005",
            "1007",
            "/tmp/demo/routes.toml",
            "/usr/bin/pointsman",
            "in use",
            "  dashboard  http://127.0.0.1:1002/sign-in#link=x\n             once, within 60 s: d makes another one\n",
            "watch the\n      rollback, read why, resume\n    pointsman dashboard    # a link\n",
            "\n\nkeys: x\n",
        ] {
            assert!(text.contains(place), "{place} is missing in\n{text}");
        }
        for line in
            ["    cd /tmp/demo\n", "alias pointsman=/usr/bin/pointsman", "pointsman kill --variant shop:canary --r"]
        {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("export"), "the socket is found in the folder");
        let without = tour(&TourContext { socket: None, link: None, ..stage.clone() }, Paint::Plain);
        assert!(without.contains("export POINTSMAN_ADMIN=http://127.0.0.1:1002\n"), "{without}");
        assert!(without.contains("  dashboard  http://127.0.0.1:1002    to read\n"), "{without}");
        let socket = Some(Path::new("/run/a b.sock"));
        let elsewhere = tour(&TourContext { socket, ..stage.clone() }, Paint::Plain);
        assert!(elsewhere.contains("export POINTSMAN_ADMIN='unix:/run/a b.sock'\n"), "{elsewhere}");
        let rollout = tour(&TourContext { kind: DemoKind::Rollout, dark: None, keys: None, ..stage }, Paint::Plain);
        for part in [
            "a rollout in three stages",
            "pointsman rollout approve shop-v2 --token-file you.token\n",
            "http://127.0.0.1:1005/errors",
            "pointsman dashboard --token-file you.token",
            "`pointsman dashboard` makes another one",
            "goes by itself",
        ] {
            assert!(rollout.contains(part), "{part} is missing in\n{rollout}");
        }
        let wide = text.lines().chain(rollout.lines()).find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "it fits a terminal");
    }
}
