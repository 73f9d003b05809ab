//! The demo's keys: read one at a time from a terminal, which is given back as it was.

use std::io::{IsTerminal, Read, stdin, stdout};
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

use super::edit::Edit;

/// What the keys are.
pub(super) const KEYS: &str = "\
keys: f fail, s slow, o off, r resume, k kill or revive, + - weight,
      d dashboard, h help, q quit";

/// What the keys of a rollout are.
pub(super) const STAGED_KEYS: &str = "\
keys: a approve, f fail, s slow, o off, r resume, b back, k kill or revive,
      d dashboard, h help, q quit";

/// A terminal keeps at most so many bytes that are not read yet: a pasted text is read at once.
const READ_BYTES: usize = 4096;

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DemoKey {
    /// The canary answers 500, or does so no more.
    Errors,
    /// The canary is slow, or is so no more.
    Slow,
    /// The canary has no fault.
    Off,
    /// The rollback of the canary ends.
    Resume,
    /// The stage of the rollout is approved.
    Approve,
    /// A person rolls the rollout back.
    RollBack,
    /// The canary is killed, or revived when it is.
    Kill,
    /// The file is edited.
    Edit(Edit),
    /// A link to the dashboard is shown.
    Dashboard,
    /// The list of keys is shown.
    Help,
    /// The demo stops, as with Ctrl-C.
    Quit,
    /// It does nothing.
    Unknown,
}

impl DemoKey {
    /// Whether it does nothing in the demo of a weight.
    pub(super) const fn does_nothing(self) -> bool {
        matches!(self, Self::Unknown | Self::Approve | Self::RollBack)
    }

    /// What was read at once: one key, pressed once or several times, or something else, such as an arrow or a pasted
    /// text. Nothing for a line end, which a terminal that reads lines adds.
    fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let bytes = bytes.trim_ascii();
        let (first, others) = bytes.split_first()?;
        let key = match first {
            b'e' | b'f' => Self::Errors,
            b's' => Self::Slow,
            b'o' => Self::Off,
            b'r' => Self::Resume,
            b'a' => Self::Approve,
            b'b' => Self::RollBack,
            b'k' => Self::Kill,
            b'+' | b'=' => Self::Edit(Edit::More),
            b'-' => Self::Edit(Edit::Less),
            b'd' => Self::Dashboard,
            b'h' | b'?' => Self::Help,
            b'q' => Self::Quit,
            _ => Self::Unknown,
        };
        let is_one_key = key != Self::Unknown && others.iter().all(|other| other == first);
        Some(if is_one_key { (key, bytes.len()) } else { (Self::Unknown, 1) })
    }
}

/// The next key. Never, when there are none.
pub(super) async fn pressed(keys: &mut Option<(mpsc::UnboundedReceiver<DemoKey>, SingleKeys)>) -> Option<DemoKey> {
    match keys {
        Some((keys, _)) => keys.recv().await,
        None => std::future::pending().await,
    }
}

/// The terminal that keys are read from. Dropped, it is as it was before.
pub(super) struct Keyboard {
    before: Termios,
    single: SingleKeys,
}

/// How the terminal is set so that a key is read when it is pressed, without being shown.
#[derive(Clone)]
pub(super) struct SingleKeys(Termios);

impl Keyboard {
    /// Takes the terminal at standard input, if there is one, this process may read from it, and what keys do is seen.
    pub(super) fn take() -> Option<Self> {
        if !stdin().is_terminal() || !stdout().is_terminal() || !in_foreground() {
            return None;
        }
        let before = tcgetattr(stdin()).ok()?;
        let mut single = before.clone();
        single.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        single.special_codes[SpecialCodeIndex::VMIN] = 1;
        single.special_codes[SpecialCodeIndex::VTIME] = 0;
        // The signals of these keys end or stop the process before the terminal is set back, and not every shell sets
        // it back itself.
        single.special_codes[SpecialCodeIndex::VQUIT] = 0;
        single.special_codes[SpecialCodeIndex::VSUSP] = 0;
        let keyboard = Self { before, single: SingleKeys(single) };
        keyboard.single.set();
        Some(keyboard)
    }

    /// How the terminal is set now.
    pub(super) fn single(&self) -> SingleKeys {
        self.single.clone()
    }
}

impl SingleKeys {
    /// Sets the terminal, again after the process was stopped and goes on.
    pub(super) fn set(&self) {
        if in_foreground() {
            // A terminal that refuses this reads lines: keys work with Enter.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // In the background the terminal belongs to another job, and the system stops a process that sets it.
        if in_foreground() {
            let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
        }
    }
}

/// Sends keys from a thread of its own. A terminal that is gone, as when its window was closed, ends the demo.
pub(super) fn listen(keys: mpsc::UnboundedSender<DemoKey>) -> std::io::Result<()> {
    let listen = move || {
        let mut bytes = [0; READ_BYTES];
        while let Ok(length @ 1..) = stdin().lock().read(&mut bytes) {
            let Some((key, times)) = DemoKey::read(&bytes[..length]) else { continue };
            if (0..times).any(|_| keys.send(key).is_err()) {
                return;
            }
        }
        let _ = keys.send(DemoKey::Quit);
    };
    thread::Builder::new().name("demo-keys".to_owned()).spawn(listen).map(drop)
}

/// Whether this process may read from its terminal: a background job that tries is stopped, proxy and all.
/// Without `/proc` the answer is yes.
fn in_foreground() -> bool {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return true };
    // After the name in parentheses: state, parent, process group, session, terminal, the terminal's foreground group.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    fields.get(2).zip(fields.get(5)).is_none_or(|(own, foreground)| own == foreground)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_or_not() {
        for (bytes, key) in [
            (&b"e"[..], Some((DemoKey::Errors, 1))),
            (b"f\n", Some((DemoKey::Errors, 1))),
            (b"k", Some((DemoKey::Kill, 1))),
            (b"r", Some((DemoKey::Resume, 1))),
            (b"a", Some((DemoKey::Approve, 1))),
            (b"b", Some((DemoKey::RollBack, 1))),
            (b"d", Some((DemoKey::Dashboard, 1))),
            (b"q", Some((DemoKey::Quit, 1))),
            (b"++", Some((DemoKey::Edit(Edit::More), 2))),
            (b"---\n", Some((DemoKey::Edit(Edit::Less), 3))),
            (b"+-", Some((DemoKey::Unknown, 1))),
            (b"x", Some((DemoKey::Unknown, 1))),
            (b"xx", Some((DemoKey::Unknown, 1))),
            (b"\x1a", Some((DemoKey::Unknown, 1))),
            (b"\n", None),
            (b"\r\n", None),
            (b"\x1b[A", Some((DemoKey::Unknown, 1))),
            (b"sed -i", Some((DemoKey::Unknown, 1))),
            ("ü".as_bytes(), Some((DemoKey::Unknown, 1))),
        ] {
            assert_eq!(DemoKey::read(bytes), key, "{bytes:?}");
        }
    }
}
