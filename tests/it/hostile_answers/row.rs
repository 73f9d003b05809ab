//! A row of the corpus: what an upstream sends, and what the client, the log and the pool must make of it.

/// An act of the upstream after it has read the request.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends bytes in one write.
    Send(Vec<u8>),
    /// Sends each byte in a write of its own.
    Trickle(Vec<u8>),
    /// Sends bytes again and again, until the proxy takes no more.
    Endless(Vec<u8>),
    /// Waits until the client has read this.
    Await(Seen),
    /// Ends its direction and keeps the socket.
    Finish,
    /// Resets the connection.
    Reset,
}

/// What the client has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The head of the final response.
    Head,
    /// The whole response.
    Answer,
}

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A complete response with this status.
    Complete(u16),
    /// A response of 200 whose body is cut.
    Cut,
    /// The proxy's own 502.
    Refused,
}

/// What happens to the upstream's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// It carries the next request.
    Kept,
    /// The next request comes on another one.
    Closed,
}

/// An answer, and its reading.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is odd about it.
    pub name: &'static str,
    /// The method of its request. A POST has a body of one byte.
    pub method: &'static str,
    /// What the upstream does.
    pub steps: Vec<Step>,
    /// What the client gets.
    pub outcome: Outcome,
    /// The body. Of a cut one, at most this arrives.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Vec<(&'static str, &'static str)>,
    /// The informational responses that an HTTP/1.1 client gets before.
    pub early: Vec<u16>,
    /// Names that no client gets.
    pub absent: Vec<&'static str>,
    /// The detail in the log.
    pub detail: &'static str,
    /// What happens to its connection.
    pub connection: Connection,
}

fn row(name: &'static str, steps: Vec<Step>, outcome: Outcome) -> Row {
    Row {
        name,
        method: "GET",
        steps,
        outcome,
        body: Vec::new(),
        trailers: Vec::new(),
        early: Vec::new(),
        absent: Vec::new(),
        detail: "",
        connection: Connection::Closed,
    }
}

/// An invalid response, which stays open.
pub fn refused(name: &'static str, bytes: impl AsRef<[u8]>) -> Row {
    let row = row(name, vec![Step::Send(bytes.as_ref().to_vec())], Outcome::Refused);
    Row { detail: "upstream_protocol", ..row }
}

/// A valid response with this body.
pub fn passes(name: &'static str, bytes: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Row {
    let row = row(name, vec![Step::Send(bytes.as_ref().to_vec())], Outcome::Complete(200));
    Row { body: body.as_ref().to_vec(), connection: Connection::Kept, ..row }
}

/// A valid head, and after the client has read it a body that breaks; at most `body` of it arrives.
pub fn cut(name: &'static str, bytes: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Row {
    let bytes = bytes.as_ref();
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("it has a head") + 4;
    let (head, rest) = (bytes[..head].to_vec(), bytes[head..].to_vec());
    let row = row(name, vec![Step::Send(head), Step::Await(Seen::Head), Step::Send(rest)], Outcome::Cut);
    Row { body: body.as_ref().to_vec(), detail: "upstream_reset", ..row }
}

/// The same in chunks: the framing follows the usual head.
pub fn cut_chunks(name: &'static str, chunks: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Row {
    cut(name, chunked(chunks), body)
}

/// A response in these chunks.
pub fn chunked(chunks: impl AsRef<[u8]>) -> Vec<u8> {
    [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunks.as_ref()].concat()
}

/// A response with these field lines and the body `ok`.
pub fn with(lines: impl AsRef<[u8]>) -> Vec<u8> {
    [b"HTTP/1.1 200 OK\r\n", lines.as_ref(), b"content-length: 2\r\n\r\nok"].concat()
}

impl Row {
    /// To a request with this method.
    pub fn to(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    /// A byte at a time.
    pub fn slowly(mut self) -> Self {
        for step in &mut self.steps {
            if let Step::Send(bytes) = step {
                *step = Step::Trickle(std::mem::take(bytes));
            }
        }
        self
    }

    /// Followed by these bytes, again and again.
    pub fn endlessly(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Endless(bytes.as_ref().to_vec()))
    }

    /// Followed by these bytes, when the client has read the response.
    pub fn late(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Await(Seen::Answer)).then(Step::Send(bytes.as_ref().to_vec())).closed()
    }

    /// Followed by these bytes, when the client has read the head.
    pub fn after_head(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Await(Seen::Head)).then(Step::Send(bytes.as_ref().to_vec()))
    }

    /// Followed by another act.
    pub fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Followed by the end of the upstream's direction.
    pub fn finish(self) -> Self {
        self.then(Step::Finish).closed()
    }

    /// Followed by a reset.
    pub fn reset(self) -> Self {
        self.then(Step::Reset).closed()
    }

    /// On a connection that is not used again.
    pub fn closed(self) -> Self {
        Self { connection: Connection::Closed, ..self }
    }

    /// With this status at the client.
    pub fn status(self, status: u16) -> Self {
        Self { outcome: Outcome::Complete(status), ..self }
    }

    /// With this detail in the log.
    pub fn detail(self, detail: &'static str) -> Self {
        Self { detail, ..self }
    }

    /// With a trailer at the client.
    pub fn trailer(mut self, name: &'static str, value: &'static str) -> Self {
        self.trailers.push((name, value));
        self
    }

    /// With informational responses at an HTTP/1.1 client.
    pub fn early(mut self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.early.extend(statuses);
        self
    }

    /// Without these fields at the client.
    pub fn without(mut self, names: &[&'static str]) -> Self {
        self.absent.extend(names);
        self
    }

    /// Whether the connection ends before a byte of a response.
    pub fn is_silent(&self) -> bool {
        let sends = |step: &Step| matches!(step, Step::Send(bytes) | Step::Trickle(bytes) | Step::Endless(bytes) if !bytes.is_empty());
        !self.steps.iter().any(sends)
    }
}
