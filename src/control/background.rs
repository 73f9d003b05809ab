//! Long work beside the control thread. It has a thread of its own that ends with it: what it frees goes back to the system at
//! once, and its low priority is of no concern to a later task.

/// How much nicer than a worker the work is: where both want a core, it gets two fifths.
#[cfg(target_os = "linux")]
const NICE: i32 = 2;

/// Works on a thread of this name.
///
/// # Errors
/// When the system has no thread; then the work is dropped.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let run = move || {
        make_way();
        work();
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}

/// Lets the workers go first. On Linux the nice value is that of the thread.
#[cfg(target_os = "linux")]
fn make_way() {
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "a thread beside the control thread keeps its priority");
    }
}

#[cfg(not(target_os = "linux"))]
const fn make_way() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn only_the_new_thread_is_nicer() {
        let now = || rustix::process::getpriority_process(None).unwrap();
        let (before, (sender, inside)) = (now(), channel());
        spawn("nicer", move || sender.send(now()).unwrap()).unwrap();
        // 19 is the nicest.
        assert_eq!(inside.recv(), Ok((before + NICE).min(19)));
        assert_eq!(now(), before);
    }
}
