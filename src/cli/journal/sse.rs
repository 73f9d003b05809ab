//! Server-sent events (WHATWG HTML §9.2): bytes to events, as they come.

use anyhow::ensure;

/// Bound on an event: a record of the journal has 1 MiB at most.
const EVENT_BYTES_MAX: usize = 2 << 20;

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerEvent {
    /// The last `id`.
    pub(super) id: Option<String>,
    /// The `data` lines.
    pub(super) data: String,
}

/// Reads events from the bytes of a response.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    /// Bytes of a line that has not ended.
    rest: Vec<u8>,
    event: ServerEvent,
    has_data: bool,
}

impl EventReader {
    /// The events that these bytes complete.
    ///
    /// # Errors
    /// An event is too long.
    pub(super) fn take(&mut self, bytes: &[u8]) -> anyhow::Result<Vec<ServerEvent>> {
        let mut events = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                self.rest.push(*byte);
                ensure!(self.rest.len() + self.event.data.len() <= EVENT_BYTES_MAX, "an event is longer than 2 MiB");
                continue;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.rest)).into_owned();
            events.extend(self.line(line.strip_suffix('\r').unwrap_or(&line)));
        }
        Ok(events)
    }

    fn line(&mut self, line: &str) -> Option<ServerEvent> {
        if line.is_empty() {
            let id = self.event.id.clone();
            let event = std::mem::replace(&mut self.event, ServerEvent { id, data: String::new() });
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "id" => self.event.id = Some(value.to_owned()),
            // A comment, the name of the event, or a field of a later standard.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = ": hello\n\nid: 7\nevent: kill\ndata: {\"a\":\ndata: 1}\n\n:\n\nid:8\r\ndata:{}\r\n\r\ndata: x";
        for size in [1, 2, 7, text.len()] {
            let mut reader = EventReader::default();
            let events: Vec<_> = text.as_bytes().chunks(size).flat_map(|part| reader.take(part).unwrap()).collect();
            let event = |id: &str, data: &str| ServerEvent { id: Some(id.to_owned()), data: data.to_owned() };
            assert_eq!(events, [event("7", "{\"a\":\n1}"), event("8", "{}")], "{size}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_refused() {
        let mut reader = EventReader::default();
        assert!(reader.take(&vec![b'x'; EVENT_BYTES_MAX + 1]).is_err());
    }
}
