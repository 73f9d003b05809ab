//! What an edit changes in notifications, for people: receivers by their names, which have no credentials.

use crate::route::{Notify, Receiver};

/// A line for each receiver that is new, removed or changed, and for the other keys.
pub(super) fn changes(old: &Notify, new: &Notify) -> Vec<String> {
    // All fields by name, so that a new one cannot be forgotten.
    let Notify { receivers, to, secret } = old;
    let find = |all: &[Receiver], id: &str| all.iter().position(|one| one.id == id);
    let mut words = Vec::new();
    for one in &new.receivers {
        match find(receivers, &one.id).and_then(|at| receivers.get(at)) {
            None => words.push(format!("notify: {} added", one.name)),
            Some(known) if known.target != one.target => words.push(format!("notify: {} changed", one.name)),
            Some(_) => {}
        }
    }
    let removed = receivers.iter().filter(|one| find(&new.receivers, &one.id).is_none());
    words.extend(removed.map(|one| format!("notify: {} removed", one.name)));
    let is_in_both = |one: &&Receiver| find(receivers, &one.id).is_some();
    for one in new.receivers.iter().filter(is_in_both) {
        match (to.contains(&one.id), new.to.contains(&one.id)) {
            (false, true) => words.push(format!("notify: {} gets every message", one.name)),
            (true, false) => words.push(format!("notify: {} gets those of its rollouts only", one.name)),
            (true, true) | (false, false) => {}
        }
    }
    if *secret != new.secret {
        words.push("notify: secret changed".to_owned());
    }
    words
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::route::{HttpTarget, NotifySecret, ReceiverKind};

    fn receiver(id: &str) -> Receiver {
        let target = HttpTarget {
            host: format!("{id}.example"),
            port: 80,
            path: "/s3cret".to_owned(),
            tls: None,
            headers: Vec::new(),
            timeout: Duration::from_secs(5),
        };
        Receiver { id: id.to_owned(), name: format!("webhook:{id}.example"), kind: ReceiverKind::Webhook, target }
    }

    #[test]
    fn receivers_are_compared_by_their_ids_and_shown_by_their_names() {
        let old = Notify {
            receivers: vec![receiver("a"), receiver("b"), receiver("c")],
            to: vec!["a".to_owned()],
            secret: None,
        };
        assert_eq!(changes(&old, &old), Vec::<String>::new());
        let mut new = old.clone();
        new.receivers[1].target.timeout = Duration::from_secs(1);
        new.receivers[2] = receiver("d");
        new.to = vec!["b".to_owned()];
        new.secret = Some(NotifySecret(b"s3cret".to_vec()));
        assert_eq!(
            changes(&old, &new),
            [
                "notify: webhook:b.example changed",
                "notify: webhook:d.example added",
                "notify: webhook:c.example removed",
                "notify: webhook:a.example gets those of its rollouts only",
                "notify: webhook:b.example gets every message",
                "notify: secret changed",
            ]
        );
    }
}
